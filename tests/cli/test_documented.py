"""Each command of the client sends requests that the document has, and reads fields that it has."""

import json
from collections.abc import Iterator

import pytest
import typer

from app.cli.common import connected
from app.cli.conversation import Conversation
from app.cli.main import main
from tests.cli.conftest import Client
from tests.support.api import Api
from tests.support.documented import Documented, Known

Group = typer.core.TyperGroup
WRONG_COMMAND_LINE = 2

OPERATIONS = {
    "run": {"create_session", "get_session", "get_run", "stream_session_events", "get_workspace_diff"},
    "chat": {"get_session", "list_runs", "send_message", "get_run", "stream_session_events"},
    "tail": {"get_session_output"},
    "sessions list": {"list_sessions"},
    "sessions show": {"get_session"},
    "sessions create": {"create_session", "get_session", "list_runs", "get_run"},
    "sessions wait": {"get_session", "list_runs", "get_run"},
    "sessions message": {"send_message", "get_session", "list_runs", "get_run", "write_workspace_file"},
    "sessions interrupt": {"interrupt_session"},
    "sessions stop": {"stop_session", "get_session"},
    "sessions start": {"start_session", "get_session"},
    "sessions delete": {"delete_session"},
    "sessions diff": {"get_workspace_patch"},
    "sessions files": {"list_workspace_files"},
    "sessions get": {"read_workspace_file"},
    "sessions put": {"write_workspace_file"},
    "sessions archive": {"get_workspace_archive"},
    "sessions push": {"push_workspace"},
}
"""The operations that each command requests."""
NEW = ["slow 0", "--name", "Shop", "--agent", "demo", "--env", "SHOP", "--label", "team=basket"]
OPTIONS = {
    "run": [*NEW, "--approve", "deny", "--stop-on-run-finished"],
    "tail": ["--no-follow"],
    "sessions list": ["--status", "running", "--activity", "idle", "--search", "x", "--limit", "2"],
    "sessions create": [*NEW, "--wait"],
    "sessions message": ["Look", "--attach", __file__, "--wait"],
    "sessions stop": ["--wait"],
    "sessions start": ["--wait"],
    "sessions files": ["--depth", "2"],
    "sessions get": ["notes.txt"],
    "sessions put": ["-", "notes.txt"],
    "sessions archive": ["--format", "zip"],
    "sessions push": ["--branch", "work", "--message", "All of it"],
}


def commands(group: Group, *names: str) -> Iterator[str]:
    """Yield the commands that talk to a server, but for the one that checks a server itself."""
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from commands(command, *names, name)
        elif name != "conform" and any(parameter.name == "url" for parameter in command.params):
            yield " ".join((*names, name))


def test_every_command_is_here() -> None:
    assert set(OPERATIONS) == set(commands(typer.main.get_group(main)))


@pytest.mark.parametrize("command", OPERATIONS)
def test_a_command_uses_the_api_as_the_document_describes_it(
    client: Client, documented: Documented, session: str, embedded_api: Api, command: str
) -> None:
    about = [] if command in {"run", "sessions list", "sessions create"} else [session]
    if command == "sessions start":
        embedded_api.stop_session(session).ok()
        embedded_api.wait_for_status(session, "stopped")

    done = client(*command.split(), *about, *OPTIONS.get(command, []), stdin="delete notes.txt\n", SHOP="open")

    assert done.exit_code != WRONG_COMMAND_LINE, done.output
    assert documented.operations == OPERATIONS[command]


def test_a_decision_is_sent_as_the_document_describes_it(
    documented: Documented, session: str, embedded_api: Api
) -> None:
    with connected(embedded_api.url, str(embedded_api.token), "") as (client, screen):
        conversation = Conversation(client, screen)
        conversation.attach(session)
        conversation.send("delete notes.txt")
        [approval] = conversation.pending_approvals()
        conversation.decide(approval, allow=True)

    assert documented.operations >= {"list_approvals", "answer_approval", "get_run"}


def test_a_command_reads_an_error_as_the_document_describes_it(client: Client, documented: Documented) -> None:
    assert client("sessions", "show", "nothing").exit_code == 1
    assert documented.operations == {"get_session"}


def test_what_the_document_does_not_have_is_found(documented: Documented, embedded_api: Api) -> None:
    agent = {"User-Agent": "ambient-public-api-cli", "Authorization": f"Bearer {embedded_api.token}"}
    url = f"{embedded_api.url}/v1/sessions"
    page = embedded_api.http.get(url, headers=agent, timeout=30).json()

    assert isinstance(page, Known)
    assert json.loads(json.dumps(page)) == {"items": [], "total": 0, "limit": 20, "offset": 0, "has_more": False}
    with pytest.raises(AssertionError, match="the document has no pages"):
        page.get("pages")
    with pytest.raises(AssertionError, match="the document has no GET /runs"):
        embedded_api.http.get(f"{embedded_api.url}/v1/runs", headers=agent, timeout=30)
    with pytest.raises(KeyError, match="page"):
        embedded_api.http.get(url, params={"page": 2}, headers=agent, timeout=30)
    assert documented.operations == {"list_sessions"}
