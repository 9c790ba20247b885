"""`sessions`: one command for each operation, and the errors of the client."""

import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.cli import stream
from app.cli.api import ApiClient
from app.cli.errors import CliError
from tests.cli.conftest import Client
from tests.contract.probe import service_account
from tests.support.api import Api
from tests.support.cutting import cutting
from tests.support.server import Background, free_port, serving


def test_a_session_is_created_stopped_started_and_deleted(client: Client, embedded_api: Api) -> None:
    made = client("sessions", "create", "slow 3000", "--name", "Shop", "--wait")
    session = made.stdout.strip()
    assert (made.exit_code, made.stderr) == (0, "")
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


def test_a_list_is_a_table_that_names_its_next_page(client: Client, embedded_api: Api) -> None:
    ids = [embedded_api.create_session(task="slow 0", display_name=name).ok()["id"] for name in ("a", "b\tb\x1b[2J")]

    done = client("sessions", "list", "--limit", "1")

    head, row = (line.split("\t") for line in done.stdout.splitlines())
    assert head == ["id", "status", "created", "name"]
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
    options = ("--model", "m1", "--repo", "https://example.invalid/shop.git#next", "--env", "TOKEN")

    done = client("sessions", "create", "-", *options, "--json", stdin="slow 0\nslow 0\n", TOKEN="hidden")

    made = json.loads(done.stdout)
    assert (made["task"], made["model"]) == ("slow 0\nslow 0", "m1")
    assert made["repos"] == [{"url": "https://example.invalid/shop.git", "branch": "next"}]
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
        (("list",), {"AMBIENT_URL": f"http://127.0.0.1:{free_port()}"}, "cannot be reached. Is the server running?"),
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
    client: Client, platform_api: Api, environment: dict[str, str]
) -> None:
    platform = {"AMBIENT_URL": platform_api.url, "AMBIENT_KEY": platform_api.token or ""}

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


def test_a_variable_that_is_not_set_is_named(client: Client) -> None:
    done = client("sessions", "create", "slow 0", "--env", "NOT_SET_ANYWHERE")

    assert done.exit_code == 2
    assert "NOT_SET_ANYWHERE is not set" in done.stderr


def test_a_reader_gives_up_when_the_server_stays_away(embedded_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RECONNECT_SECONDS", 0.0)
    session = embedded_api.create_session(task="list the files").ok()["id"]
    embedded_api.wait_for_status(session, "running")
    [run] = embedded_api.list_runs(session).ok()["runs"]
    embedded_api.wait_for_run(session, run["run_id"])
    messages: list[str] = []

    def read() -> Iterator[stream.Frame]:
        with cutting(int(embedded_api.url.rpartition(":")[2])) as relay:
            api = ApiClient(relay.url, key=embedded_api.token or "", project="")
            frames = stream.follow(api, session, on_loss=messages.append)
            yield next(frames)
        yield from frames

    with pytest.raises(CliError, match="cannot be reached"):
        list(read())
    assert messages == ["The connection was lost; trying again."]
