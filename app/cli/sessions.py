"""`sessions`: one command for each operation on sessions."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.attachments import Attach, with_task
from app.cli.common import (
    DEFAULT_URL,
    AgentName,
    AsJson,
    Key,
    Project,
    SessionId,
    Url,
    connected,
    show_help,
)
from app.cli.new_session import (
    Approve,
    Directory,
    Env,
    IdleTimeout,
    InPlace,
    Label,
    Model,
    Name,
    Repo,
    StopOnRunFinished,
    Task,
    explain,
    fields_of,
    read_task,
)

if TYPE_CHECKING:
    from app.cli.api import ApiClient
    from app.cli.terminal import Screen

Wait = Annotated[bool, typer.Option("--wait", help="Return when the session has reached its new state.")]

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

    A running session is shown as working, waiting, or idle, or as "run failed" if it is idle after a run that has
    failed.
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
    task: Task,
    *,
    attach: Attach = [],  # noqa: B006 - typer copies it
    repo: Repo = [],  # noqa: B006 - typer copies it
    directory: Directory = None,
    in_place: InPlace = False,
    agent: AgentName = "",
    model: Model = "",
    name: Name = "",
    env: Env = [],  # noqa: B006 - typer copies it
    label: Label = [],  # noqa: B006 - typer copies it
    approve: Annotated[
        Approve, typer.Option(help="The decision on the agent's requests for approval: later, always yes, always no.")
    ] = Approve.ASK,
    idle_timeout: IdleTimeout = None,
    stop_on_run_finished: StopOnRunFinished = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the task has ended, with the exit status of `run`.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Create a session and print its id. `run` also shows the work and prints the answer."""
    from app.cli.api import CliError

    fields = fields_of(
        name=name,
        agent=agent,
        model=model,
        repos=repo,
        directory=directory,
        in_place=in_place,
        env=env,
        labels=label,
        approve=approve,
        idle_timeout=idle_timeout,
        stop_on_run_finished=stop_on_run_finished,
    )
    with connected(url, key, project) as (client, screen):
        try:
            created = client.create("sessions", task=read_task(task), **fields, **with_task(attach))
        except CliError as error:
            raise explain(error, client, fields) from error
        if not as_json:
            screen.line(created["id"])
        if wait:
            _wait(client, screen, created["id"], as_json=as_json)
        elif as_json:
            _print_json(screen, created)


@sessions.command("wait")
def wait_for_session(
    session: SessionId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "", project: Project = ""
) -> None:
    """Wait until a session has nothing left to do or needs a decision. The exit status is that of `run`."""
    with connected(url, key, project, session) as (client, screen):
        _wait(client, screen, session, as_json=as_json)


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
    """Return what a running session does, and the status of any other; one whose last run has failed says so."""
    activity = session.get("activity")
    if activity == "idle" and session.get("last_run_status") == "error":
        return "run failed"
    return str(activity or session["status"])


def _wait(client: "ApiClient", screen: "Screen", session_id: str, *, as_json: bool) -> None:
    """Wait for the end of a session's last run, and exit with how it ended."""
    from app.cli.outcome import wait_for_end

    ended = wait_for_end(client, screen, session_id)
    if as_json:
        _print_json(screen, client.get("sessions", session_id))
    if ended and ended.outcome.exit_status:
        raise typer.Exit(ended.outcome.exit_status)


def _settled(client: "ApiClient", screen: "Screen", session: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    """Return the session, with `wait` once it has reached the state that it is on its way to."""
    from app.cli.outcome import wait_until_settled

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
