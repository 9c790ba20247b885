"""`sessions message`: one message to a session, with files."""

import json
from typing import Annotated

import typer

from app.cli.attachments import Attach, with_message
from app.cli.common import DEFAULT_URL, AsJson, Key, Project, SessionId, Url, connected, read_standard_input


def send_message(
    session: SessionId,
    message: Annotated[str, typer.Argument(metavar="TEXT", help="The message; - reads it from standard input.")],
    *,
    attach: Attach = [],  # noqa: B006 - typer copies it
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the session has nothing left to do, and print the answer.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "",
    project: Project = "",
) -> None:
    """Send a message to a session and print the id of its run. With --wait, the exit status is that of `run`."""
    from app.cli.outcome import wait_for_end

    with connected(url, key, project, session) as (client, screen):
        content = read_standard_input() if message == "-" else message
        files = with_message(client, session, attach)
        accepted = client.create("sessions", session, "message", content=content, **files)
        if not wait:
            screen.line(json.dumps(accepted) if as_json else accepted["run_id"])
            return
        ended = wait_for_end(client, screen, session)
        if ended is None:
            return
        screen.line(json.dumps(ended.run) if as_json else ended.run.get("answer", ""))
        if "error" in ended.run:
            screen.error(ended.run["error"])
        if ended.outcome.exit_status:
            raise typer.Exit(ended.outcome.exit_status)
