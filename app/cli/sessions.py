"""The commands that talk to a server: chat, tail, sessions."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import stream

if TYPE_CHECKING:
    from app.cli.api import ApiClient
    from app.cli.terminal import Screen

# requests and rich take a while to import, and no other command needs them: they come with the first use.

DEFAULT_URL = "http://127.0.0.1:8081"
INTERRUPTED = 130

_plain: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
sessions = typer.Typer(help="Sessions of a server, by its API.", no_args_is_help=True, **_plain)

Url = Annotated[str, typer.Option(envvar="AMBIENT_URL", help="Where the server is.")]
Key = Annotated[
    str,
    typer.Option(
        envvar="AMBIENT_KEY",
        show_default=False,
        help="The key or token. Better in AMBIENT_KEY: others can read a command line, and a shell remembers it.",
    ),
]
Project = Annotated[
    str, typer.Option(envvar="AMBIENT_PROJECT", show_default=False, help="The project, where the key does not tell it.")
]
Id = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as the server gives it, JSON.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return once the session has arrived at its new state.")]


def chat(
    session: Annotated[
        str | None, typer.Argument(help="The session's id; without it your first message makes one.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Talk to a session. Ctrl-C interrupts the run, a second one leaves; Ctrl-D leaves.

    Without a terminal, standard input is one message, and the exit status 0 if its run completed.
    """
    from app.cli.chat import Chat, converse  # noqa: PLC0415 - see above

    with _talking(url, key, project, session or "") as (client, screen):
        conversation = Chat(client, screen)
        if sys.stdin.isatty():
            try:
                converse(conversation, screen, session)
            finally:
                if conversation.session:
                    screen.note(f"To go on: python -m app chat {conversation.session}")
            return
        message = _standard_input()
        if session is not None:
            conversation.attach(session)
        if not conversation.say(message):
            raise typer.Exit(1)


def tail(
    session: Id,
    *,
    run: Annotated[str | None, typer.Option(help="Only this run (its id); the command ends with it.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only what follows this position of the log.")] = 0,
    follow: Annotated[bool, typer.Option(help="Go on with what comes, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events themselves, one in a line.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Show what a session did and does."""
    from app.cli.render import Renderer  # noqa: PLC0415 - see above
    from app.cli.terminal import printable_json  # noqa: PLC0415 - see above

    with _talking(url, key, project, session) as (client, screen):
        if follow:
            frames = stream.follow(client, session, after=after, run=run, lost=screen.note)
        else:
            frames = stream.stored(client, session, after=after, run=run)
        renderer = Renderer(screen, show_users=True)
        for frame in frames:
            if as_json:
                screen.line(printable_json(frame.text))
            else:
                renderer.show(frame.event)


@sessions.command("list")
def list_sessions(
    *,
    status: Annotated[list[str], typer.Option(help="Only sessions in this state; may be repeated.")] = [],  # noqa: B006 - typer copies it
    search: Annotated[str, typer.Option(help="Only sessions with this text in id, name or task.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """List the project's sessions, newest first: id, status, time and name, separated by tabs."""
    with _talking(url, key, project) as (client, screen):
        query = {"status": status, "search": search, "limit": limit, "offset": offset}
        page = client.get("sessions", **query)
        if as_json:
            _print_json(screen, page)
            return
        screen.table(
            ("id", "status", "created", "name"),
            [
                (
                    each["id"],
                    each["status"],
                    each.get("created_at", "-"),
                    each.get("display_name") or each.get("task", "-"),
                )
                for each in page["items"]
            ],
        )
        if page["has_more"]:
            screen.note(f"{page['total']} in all; --offset {page['next_offset']} shows the next.")


@sessions.command("show")
def show_session(
    session: Id, *, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "", project: Project = ""
) -> None:
    """Show one session."""
    with _talking(url, key, project, session) as (client, screen):
        _show(screen, client.get("sessions", session), as_json=as_json)


@sessions.command("create")
def create_session(
    task: Annotated[str, typer.Argument(help="What the agent shall do first; - reads it from standard input.")],
    *,
    name: Annotated[str, typer.Option(help="A name for people to read.")] = "",
    model: Annotated[str, typer.Option(help="The language model.")] = "",
    repo: Annotated[
        list[str], typer.Option(metavar="URL[#BRANCH]", help="A repository to clone; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    env: Annotated[
        list[str], typer.Option(metavar="NAME", help="Pass on this variable of your environment; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Create a session and print its id."""
    unset = [each for each in env if each not in os.environ]
    if unset:
        raise typer.BadParameter(f"{unset[0]} is not set in your environment", param_hint="--env")
    repos = [dict(zip(("url", "branch"), each.split("#", 1), strict=False)) for each in repo]
    options = {
        "display_name": name,
        "model": model,
        "repos": repos,
        "environment_variables": {each: os.environ[each] for each in env},
    }
    with _talking(url, key, project) as (client, screen):
        first = _standard_input() if task == "-" else task
        made = client.create("sessions", task=first, **{field: value for field, value in options.items() if value})
        if not as_json:
            screen.line(made["id"])
        session = _arrived(client, screen, made, wait=wait)
        if as_json:
            _print_json(screen, session)


@sessions.command("stop")
def stop_session(
    session: Id,
    *,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """End the session's agent; workspace and conversation are kept."""
    with _talking(url, key, project, session) as (client, screen):
        _show(screen, _arrived(client, screen, client.post("sessions", session, "stop"), wait=wait), as_json=as_json)


@sessions.command("start")
def start_session(
    session: Id,
    *,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Take a session up again that has ended."""
    with _talking(url, key, project, session) as (client, screen):
        _show(screen, _arrived(client, screen, client.post("sessions", session, "start"), wait=wait), as_json=as_json)


@sessions.command("interrupt")
def interrupt_session(
    session: Id, *, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "", project: Project = ""
) -> None:
    """Cancel the session's current run; the session goes on."""
    with _talking(url, key, project, session) as (client, screen):
        answer = client.post("sessions", session, "interrupt")
        if as_json:
            _print_json(screen, answer)
            return
        told = {True: "Interrupted.", False: "Nothing was running."}
        screen.line(told.get(answer["interrupted"], "The signal was sent; the end of the run was not seen yet."))


@sessions.command("delete")
def delete_session(session: Id, url: Url = DEFAULT_URL, key: Key = "", project: Project = "") -> None:
    """Delete a session with its workspace and its conversation, whatever its state."""
    with _talking(url, key, project, session) as (client, _):
        client.delete("sessions", session)


@contextmanager
def _talking(url: str, key: str, project: str, session: str = "") -> Iterator[tuple["ApiClient", "Screen"]]:
    """A client and a screen; what goes wrong is one line and exit status 1."""
    from app.cli.api import ApiClient, CliError, check_session  # noqa: PLC0415 - see above
    from app.cli.terminal import Screen  # noqa: PLC0415 - see above

    with Screen() as screen:
        try:
            if session:
                check_session(session)
            with ApiClient(url, key=key, project=project) as client:
                yield client, screen
        except CliError as failure:
            screen.error(str(failure))
            raise typer.Exit(1) from failure
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(INTERRUPTED) from interrupt


def _standard_input() -> str:
    """All of it but the last line's end."""
    return sys.stdin.buffer.read().decode(errors="replace").rstrip("\r\n")


def _arrived(client: "ApiClient", screen: "Screen", session: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    from app.cli.chat import wait_until_settled  # noqa: PLC0415 - see above

    return wait_until_settled(client, screen, session["id"]) if wait else session


def _show(screen: "Screen", session: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(screen, session)
        return
    for field, value in session.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        screen.line("\n  ".join(f"{field}: {text}".splitlines()))


def _print_json(screen: "Screen", value: Any) -> None:
    screen.line(json.dumps(value))
