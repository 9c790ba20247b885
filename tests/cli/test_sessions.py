"""`sessions`: one command for each operation, and the errors of the client."""

import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.cli import api, stream
from app.cli.api import ApiClient, CliError
from tests.cli.conftest import Client
from tests.contract.probe import service_account
from tests.support.api import Api
from tests.support.cutting import cutting
from tests.support.server import Background, free_port, serving


def test_a_session_is_created_stopped_started_and_deleted(client: Client, embedded_api: Api) -> None:
    made = client("sessions", "create", "slow 3000", "--name", "Shop")
    session = made.stdout.strip()
    assert (made.exit_code, made.stderr) == (0, "")
    embedded_api.wait_for_status(session, "running")
    [run] = embedded_api.list_runs(session).ok()["runs"]
    embedded_api.wait_for_run(session, run["run_id"], "running")

    assert client("sessions", "interrupt", session).stdout == "Interrupted.\n"
    assert client("sessions", "interrupt", session).stdout == "Nothing was running.\n"
    assert "status: stopped\n" in client("sessions", "stop", session, "--wait").stdout
    assert "status: running\n" in client("sessions", "start", session, "--wait").stdout
    assert "display_name: Shop\n" in client("sessions", "show", session).stdout
    deleted = client("sessions", "delete", session)
    assert (deleted.exit_code, deleted.output) == (0, "")
    gone = client("sessions", "show", session)
    assert (gone.exit_code, gone.stdout, gone.stderr) == (1, "", "Session not found.\n")


def test_the_agent_of_a_new_session_is_chosen_by_name(client: Client) -> None:
    made = json.loads(client("sessions", "create", "slow 0", "--agent", "demo", "--json").stdout)
    assert made["agent"] == "demo"
    refused = client("sessions", "create", "slow 0", "--agent", "nobody")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "agent" in refused.stderr


def test_a_list_has_rows_and_names_its_next_page(client: Client, embedded_api: Api) -> None:
    ids = [embedded_api.create_session(task="slow 0", display_name=name).ok()["id"] for name in ("a", "b\tb\x1b[2J")]

    done = client("sessions", "list", "--limit", "1")

    [row] = (line.split("\t") for line in done.stdout.splitlines())
    assert (row[0], row[3]) == (ids[1], "b b[2J")
    assert done.stderr == "2 in total; --offset 1 shows the next page.\n"


def test_no_line_of_a_value_looks_like_a_field(client: Client, embedded_api: Api) -> None:
    name, task = "ok\nstatus: failed", "slow 0\r\n\u2028id: other"
    session = embedded_api.create_session(task=task, display_name=name).ok()["id"]

    lines = client("sessions", "show", session).stdout.splitlines()

    assert lines[lines.index("display_name: ok") + 1] == "  status: failed"
    assert lines[lines.index("task: slow 0") + 2] == "  id: other"


def test_a_list_is_filtered_by_text_and_status(client: Client, embedded_api: Api) -> None:
    wanted = embedded_api.create_session(task="slow 0", display_name="wanted").ok()["id"]
    embedded_api.create_session(task="slow 0", display_name="other")
    embedded_api.wait_for_status(wanted, "running")

    shown = client("sessions", "list", "--search", "wanted", "--status", "running", "--status", "failed", "--json")

    assert [item["id"] for item in json.loads(shown.stdout)["items"]] == [wanted]


def test_a_list_tells_what_needs_someone_from_what_works_rests_or_has_failed(client: Client, embedded_api: Api) -> None:
    tasks = {"slow 3000": "working", "ask": "waiting", "what did I say?": "idle", "fail": "run failed"}
    ids = {embedded_api.create_session(task=task).ok()["id"]: state for task, state in tasks.items()}
    for session, state in ids.items():
        embedded_api.wait_for_status(session, "running")
        if state != "working":
            embedded_api.get_session(session, wait=60).ok()

    rows = [line.split("\t") for line in client("sessions", "list").stdout.splitlines()]

    assert {row[0]: row[1] for row in rows} == ids


@pytest.mark.parametrize("command", ["show", "stop", "start", "interrupt"])
def test_a_response_is_printed_as_json_with_the_option(client: Client, embedded_api: Api, command: str) -> None:
    session = embedded_api.create_session(task="slow 0").ok()["id"]
    embedded_api.wait_for_status(session, "running")
    if command == "start":
        embedded_api.stop_session(session).ok()
        embedded_api.wait_for_status(session, "stopped")

    [line] = client("sessions", command, session, "--json").stdout.splitlines()

    assert {"id", "message"} & set(json.loads(line))


def test_a_session_is_created_from_options_environment_and_standard_input(client: Client) -> None:
    options = (
        *("--agent", "demo", "--repo", "https://example.invalid/shop.git@next", "--env", "TOKEN", "--env", "LEVEL=a=b"),
        *("--label", "team=checkout", "--approve", "deny"),
    )
    rules = ("--idle-timeout", "3600", "--stop-on-run-finished")

    done = client("sessions", "create", "-", *options, *rules, "--json", stdin="slow 0\nslow 0\n", TOKEN="hidden")

    made = json.loads(done.stdout)
    assert (made["task"], made["agent"]) == ("slow 0\nslow 0", "demo")
    assert made["repos"] == [{"url": "https://example.invalid/shop.git", "branch": "next"}]
    assert (made["idle_timeout_seconds"], made["stop_on_run_finished"]) == (3600, True)
    assert (made["labels"], made["approval_policy"]) == ({"team": "checkout"}, "deny")
    assert "hidden" not in done.output


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("show", "nope"), {}, "Session not found."),
        (("show", ".."), {}, "A session's id is 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends."),
        (("create", " "), {}, "must not be blank"),
        (("list",), {"AMBIENT_KEY": "ak_wrong"}, "Set AMBIENT_KEY to a valid key."),
        (("list",), {"AMBIENT_KEY": ""}, "Set AMBIENT_KEY to a valid key."),
        (("list",), {"AMBIENT_KEY": "ak\nx"}, "The key contains a character that no key has."),
        (("list",), {"AMBIENT_PROJECT": "a\nb"}, "The project's name contains a character that no such name has."),
        (("list",), {"AMBIENT_PROJECT": "another"}, "project"),
        (("list",), {"AMBIENT_URL": "ftp://example.com"}, "The server's URL must be such as http://127.0.0.1:8081"),
        (("list",), {"AMBIENT_URL": "http://me:secret@127.0.0.1:1"}, "without user, query or fragment."),
        (("list", "--status", "tired"), {}, "query.status"),
    ],
)
def test_an_error_is_one_sentence(
    client: Client, arguments: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    done = client("sessions", *arguments, **environment)

    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert message in line
    assert "secret" not in line


@pytest.mark.parametrize("environment", [{}, {"AMBIENT_KEY": service_account("shop"), "AMBIENT_PROJECT": "another"}])
def test_the_variable_is_named_when_the_project_is_missing_or_not_the_tokens(
    client: Client, ambient_api: Api, environment: dict[str, str]
) -> None:
    platform = {"AMBIENT_URL": ambient_api.url, "AMBIENT_KEY": ambient_api.token or ""}

    done = client("sessions", "list", **{**platform, **environment})

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith(" Set AMBIENT_PROJECT or --project.\n")


def test_a_response_of_another_server_is_recognized(client: Client, loop: Background) -> None:
    async def welcome(_request: Request) -> Response:
        return PlainTextResponse("Welcome")

    site = Starlette(routes=[Route("/{path:path}", welcome, methods=["GET", "POST"])])
    with serving(site, loop) as url:
        for command in (("sessions", "list"), ("tail", "a"), ("sessions", "create", "slow 0")):
            done = client(*command, AMBIENT_URL=url)
            assert (done.exit_code, done.stdout) == (1, "")
            assert done.stderr == f"{url} does not respond like this API (status 200).\n"


def test_a_session_is_created_once_when_its_connection_breaks(client: Client, embedded_api: Api) -> None:
    with cutting(int(embedded_api.url.rpartition(":")[2]), 20, 250) as relay:
        done = client("sessions", "create", "slow 0", AMBIENT_URL=relay.url)

    assert done.exit_code == 0, done.stderr
    assert [item["id"] for item in embedded_api.list_sessions().ok()["items"]] == [done.stdout.strip()]


def test_a_server_that_cannot_be_reached_has_an_exit_status_of_its_own(client: Client) -> None:
    done = client("sessions", "list", AMBIENT_URL=f"http://127.0.0.1:{free_port()}")

    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.endswith("cannot be reached. Is the server running?\n")


@pytest.mark.parametrize(
    ("task", "more", "status"),
    [("slow 0", (), 0), ("fail", (), 1), ("ask", (), 3), ("ask now", (), 3), ("ask", ("--approve", "deny"), 0)],
)
def test_the_end_of_a_task_can_be_waited_for(client: Client, task: str, more: tuple[str, ...], status: int) -> None:
    made = client("sessions", "create", task, *more, "--wait")
    assert (made.exit_code, made.stderr) == (status, "")

    waited = client("sessions", "wait", made.stdout.strip(), "--json")

    assert (waited.exit_code, json.loads(waited.stdout)["id"]) == (status, made.stdout.strip())


def test_the_end_of_a_session_that_cannot_begin_is_an_error(client: Client, embedded_api: Api) -> None:
    made = client("sessions", "create", "slow 0", "--repo", "file:///nowhere/at-all", "--wait")

    assert made.exit_code == 1
    assert made.stderr.startswith("The session is failed: Repository 1 (at-all) could not be cloned")
    stopped = embedded_api.create_session(task="slow 3000").ok()["id"]
    embedded_api.wait_for_status(stopped, "running")
    embedded_api.stop_session(stopped).ok()
    assert client("sessions", "wait", stopped).exit_code == 130


def test_a_reader_gives_up_when_the_server_stays_away(embedded_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "RECONNECT_SECONDS", 0.0)
    session = embedded_api.create_session(task="list the files").ok()["id"]
    embedded_api.wait_for_status(session, "running")
    [run] = embedded_api.list_runs(session).ok()["runs"]
    embedded_api.wait_for_run(session, run["run_id"])
    messages: list[str] = []

    def read() -> Iterator[stream.Frame]:
        with cutting(int(embedded_api.url.rpartition(":")[2])) as relay:
            client = ApiClient(relay.url, key=embedded_api.token or "", project="", on_loss=messages.append)
            frames = stream.follow(client, session)
            yield next(frames)
        yield from frames

    with pytest.raises(CliError, match="cannot be reached"):
        list(read())
    assert messages == ["The connection was lost; trying again."]
