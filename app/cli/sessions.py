"""`sessions`: one command for each operation on sessions."""

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import (
    DEFAULT_URL,
    AsJson,
    Key,
    Project,
    SessionId,
    Url,
    Wait,
    connected,
    read_standard_input,
)
from app.cli.program import show_help

if TYPE_CHECKING:
    from app.cli.api import ApiClient
    from app.cli.terminal import Screen

sessions = typer.Typer(help="List, create and control sessions.", rich_markup_mode=None)
sessions.callback(invoke_without_command=True)(show_help)


@sessions.command("list")
def list_sessions(
    *,
    status: Annotated[list[str], typer.Option(help="Show only sessions with this status; may be repeated.")] = [],  # noqa: B006 - typer copies it
    activity: Annotated[
        list[str], typer.Option(help="Show only running sessions that are working, waiting or idle; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    search: Annotated[str, typer.Option(help="Show only sessions with this text in id, name or task.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="Show at most this many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Skip this many.")] = 0,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """List the project's sessions, newest first: id, status, time and name, separated by tabs.

    A running session is shown as working, waiting or idle.
    """
    with connected(url, key, project) as (client, screen):
        query = {"status": status, "activity": activity, "search": search, "limit": limit, "offset": offset}
        page = client.get("sessions", **query)
        if as_json:
            _print_json(screen, page)
            return
        rows = [
            (item["id"], _state(item), item.get("created_at", "-"), item.get("display_name") or item.get("task", "-"))
            for item in page["items"]
        ]
        screen.table(("id", "status", "created", "name"), rows)
        if page["has_more"]:
            screen.note(f"{page['total']} in total; --offset {page['next_offset']} shows the next page.")


@sessions.command("show")
def show_session(
    session: SessionId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "", project: Project = ""
) -> None:
    """Show one session."""
    with connected(url, key, project, session) as (client, screen):
        _show(screen, client.get("sessions", session), as_json=as_json)


@sessions.command("create")
def create_session(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The first message to the agent; - reads it from standard input.")
    ],
    *,
    name: Annotated[str, typer.Option(help="A display name.")] = "",
    model: Annotated[str, typer.Option(help="The language model.")] = "",
    repo: Annotated[
        list[str], typer.Option(metavar="URL[#BRANCH]", help="A repository to clone; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    env: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Give the session this variable of your environment; may be repeated."),
    ] = [],  # noqa: B006 - typer copies it
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Create a session and print its id."""
    unset = [variable for variable in env if variable not in os.environ]
    if unset:
        raise typer.BadParameter(f"{unset[0]} is not set in your environment", param_hint="--env")
    options = {
        "display_name": name,
        "model": model,
        "repos": [dict(zip(("url", "branch"), each.split("#", 1), strict=False)) for each in repo],
        "environment_variables": {variable: os.environ[variable] for variable in env},
    }
    body = {field: value for field, value in options.items() if value}
    with connected(url, key, project) as (client, screen):
        created = client.create("sessions", task=read_standard_input() if task == "-" else task, **body)
        if not as_json:
            screen.line(created["id"])
        session = _settled(client, screen, created, wait=wait)
        if as_json:
            _print_json(screen, session)


@sessions.command("stop")
def stop_session(
    session: SessionId,
    *,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Stop a session's agent. Workspace and conversation stay."""
    with connected(url, key, project, session) as (client, screen):
        _show(screen, _settled(client, screen, client.post("sessions", session, "stop"), wait=wait), as_json=as_json)


@sessions.command("start")
def start_session(
    session: SessionId,
    *,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Start a session again that has stopped or failed."""
    with connected(url, key, project, session) as (client, screen):
        _show(screen, _settled(client, screen, client.post("sessions", session, "start"), wait=wait), as_json=as_json)


@sessions.command("interrupt")
def interrupt_session(
    session: SessionId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "", project: Project = ""
) -> None:
    """Cancel a session's current run. The session stays running."""
    with connected(url, key, project, session) as (client, screen):
        result = client.post("sessions", session, "interrupt")
        if as_json:
            _print_json(screen, result)
            return
        texts = {True: "Interrupted.", False: "Nothing was running."}
        screen.line(texts.get(result["interrupted"], "The interrupt was sent, but the run has not ended yet."))


@sessions.command("delete")
def delete_session(session: SessionId, url: Url = DEFAULT_URL, key: Key = "", project: Project = "") -> None:
    """Delete a session, its workspace and its conversation, whatever its state."""
    with connected(url, key, project, session) as (client, _):
        client.delete("sessions", session)


def _state(session: dict[str, Any]) -> str:
    """Return what a running session does, and the status of any other."""
    return str(session.get("activity") or session["status"])


def _settled(client: "ApiClient", screen: "Screen", session: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    """Return the session, with `wait` once it has reached the state that it is on its way to."""
    from app.cli.conversation import wait_until_settled

    return wait_until_settled(client, screen, session["id"]) if wait else session


def _show(screen: "Screen", session: dict[str, Any], *, as_json: bool) -> None:
    """Write one field per line; further lines of a value are indented, so that none passes for a field."""
    if as_json:
        _print_json(screen, session)
        return
    for field, value in session.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        screen.line("\n  ".join(f"{field}: {text}".splitlines()))


def _print_json(screen: "Screen", value: Any) -> None:
    screen.line(json.dumps(value))
