"""The audit log: one line for each change and each refusal, and nothing of the content."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.errors import Forbidden, StorageFull
from app.factory import create_app
from app.observability import audit
from app.observability.audit import AuditLog
from tests.contract.test_document_clients import OPERATIONS, resolve
from tests.support.contract import TOKEN, CannedBackend, Response, Sent, call, settings

CHANGING = [name for name, (_, method, *_) in OPERATIONS.items() if method != "get"]
SECRET = "a-task-that-nobody-else-may-read"


def example(operation_id: str, *headers: tuple[str, str]) -> Sent:
    """Return a request of an operation with the values of the document's examples, and a secret wherever text is."""
    path, method, item, operation = OPERATIONS[operation_id]
    given = [resolve(found) for found in [*item["parameters"], *operation.get("parameters", [])]]
    query = urlencode([(found["name"], found["example"]) for found in given if found["in"] == "query"], doseq=True)
    names = {found["name"]: str(found["example"]) for found in given if found["in"] != "query"}
    body = b""
    if content := operation.get("requestBody", {}).get("content", {}).get("application/json"):
        value = next(iter(content["examples"].values()))["value"]
        value = {
            name: SECRET if name in {"task", "content", "display_name"} else member for name, member in value.items()
        }
        body = json.dumps(value).encode()
    sent = [(found["name"], names[found["name"]]) for found in given if found["in"] == "header"]
    return Sent(method.upper(), f"/v1{path.format(**names)}?{query}", (*headers, *sent), body)


class Server:
    """The whole app over a canned backend, with its audit log in a file."""

    def __init__(self, directory: Path, backend: CannedBackend | None = None, **changes: str) -> None:
        self.file = directory / "logs" / "audit.log"
        chosen = settings(directory, AUDIT_LOG=str(self.file), **changes)
        self.app = create_app(chosen, backend or CannedBackend())

    async def send(self, *requests: Sent) -> list[Response]:
        return [await call(self.app, sent) for sent in requests]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("server"))


@pytest.fixture
def server(shared: Server) -> Server:
    """A server whose log is empty and whose bound on lines is not reached."""
    shared.file.unlink(missing_ok=True)
    assert shared.app._audit_log
    shared.app._audit_log._lines = 0
    return shared


@pytest.mark.parametrize("operation", CHANGING)
async def test_each_change_is_one_line(server: Server, operation: str) -> None:
    [response] = await server.send(example(operation, ("Authorization", TOKEN), ("X-Request-ID", "r1")))
    assert response.status < 300
    [line] = server.lines
    expected = {"operation", "method", "status", "project", "caller", "address", "request_id", "time"}
    assert line.keys() - {"session"} == expected
    assert (line["operation"], line["status"], line["request_id"]) == (operation, response.status, "r1")
    assert "session" in line or "{session_id}" not in OPERATIONS[operation][0]
    assert SECRET not in server.file.read_text()
    assert TOKEN.removeprefix("Bearer ") not in server.file.read_text()
    assert server.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_refused_token_is_one_line(server: Server, operation: str) -> None:
    [response] = await server.send(example(operation))
    assert response.status == 401
    [line] = server.lines
    assert (line["operation"], line["status"], line["code"]) == (operation, 401, "unauthorized")


@pytest.mark.parametrize("operation", CHANGING)
async def test_each_refused_origin_is_one_line(server: Server, operation: str) -> None:
    token = ("X-Forwarded-Access-Token", TOKEN.removeprefix("Bearer "))
    await server.send(example(operation, token, ("Origin", "https://evil.example")))
    [line] = server.lines
    assert (line["operation"], line["status"], line["code"]) == (operation, 403, "origin_not_allowed")


async def test_a_request_beyond_the_rate_is_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path, RATE_LIMIT_RPS="1", RATE_LIMIT_BURST="1")
    read = Sent("GET", "/v1/sessions")
    assert [response.status for response in await server.send(read, read)] == [200, 429]
    [line] = server.lines
    assert (line["status"], line["code"], line["address"]) == (429, "rate_limited", "127.0.0.1")


async def test_a_request_beyond_the_rate_of_its_key_is_one_line_that_names_the_caller(tmp_path: Path) -> None:
    server = Server(tmp_path, KEY_RATE_LIMIT_RPS="1", KEY_RATE_LIMIT_BURST="1")
    read = Sent("GET", "/v1/sessions/s1", (("Authorization", TOKEN), ("X-Ambient-Project", "demo")))
    assert [response.status for response in await server.send(read, read)] == [200, 429]
    [line] = server.lines
    assert (line["code"], line["project"], line["session"]) == ("rate_limited", "demo", "s1")
    assert line["caller"].startswith("token-")


async def test_a_request_without_room_is_one_line(tmp_path: Path) -> None:
    class Full(CannedBackend):
        async def whoami(self, *_: Any) -> Any:
            raise StorageFull

    server = Server(tmp_path, Full())
    await server.send(example("whoami", ("Authorization", TOKEN)))
    assert [(line["status"], line["code"]) for line in server.lines] == [(507, "storage_full")]


async def test_a_role_that_is_too_small_is_one_line(tmp_path: Path) -> None:
    class Strict(CannedBackend):
        async def whoami(self, *_: Any) -> Any:
            raise Forbidden

    server = Server(tmp_path, Strict())
    [response] = await server.send(Sent("GET", "/v1/whoami", (("Authorization", TOKEN),)))
    assert response.status == 403
    [line] = server.lines
    assert (line["operation"], line["status"], line["code"]) == ("whoami", 403, "forbidden")


async def test_reading_and_mistakes_leave_no_line(server: Server) -> None:
    await server.send(
        Sent("GET", "/v1/sessions"),
        Sent("POST", "/v1/sessions", body=b"{"),
        Sent("GET", "/nothing"),
        Sent("GET", "/health"),
    )
    assert server.lines == []


async def test_the_address_can_be_left_out(tmp_path: Path) -> None:
    server = Server(tmp_path, AUDIT_ADDRESSES="false")
    await server.send(example("create_session", ("Authorization", TOKEN)))
    assert "address" not in server.lines[0]


async def test_a_caller_with_a_name_of_any_length_is_a_short_line(server: Server) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "x" * 30_000}).encode()).decode().rstrip("=")
    await server.send(example("create_session", ("Authorization", f"Bearer a.{claims}.c")))
    [line] = server.lines
    assert line["caller"].startswith("token-")
    assert server.file.stat().st_size < 1000


async def test_a_flood_of_equal_lines_is_counted_together(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "monotonic", lambda: 5.0)
    refused = example("whoami")
    await server.send(*[refused] * (audit.MAX_LINES + 50))
    assert server.app._audit_log
    server.app._audit_log.flush()  # as it does a second later
    assert len(server.lines) == audit.MAX_LINES + 1
    assert server.lines[-1]["count"] == 50
    assert server.lines[-1]["operation"] == "whoami"


async def test_counting_is_bounded_and_goes_on_in_the_next_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5.0
    monkeypatch.setattr(audit, "monotonic", lambda: now)
    monkeypatch.setattr(audit, "_MAX_KINDS", 2)
    log = AuditLog(tmp_path / "audit.log")
    for number in range(audit.MAX_LINES + 5):
        log.record(operation="whoami", status=401, address=str(number))
    now = 6.0
    log.record(operation="whoami", status=401, address="last")
    *_, first, second, rest, last = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert (first["count"], second["count"], rest["count"]) == (1, 1, 3)
    assert "address" not in rest
    assert (last["address"], "count" in last) == ("last", False)


async def test_nothing_fails_when_the_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no directory")
    server = Server(tmp_path)
    [response] = await server.send(example("create_session", ("Authorization", TOKEN)))
    assert response.status == 201


async def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.record(operation="one")
    (tmp_path / "audit.log").rename(tmp_path / "audit.log.1")
    log.record(operation="two")
    assert json.loads((tmp_path / "audit.log").read_text())["operation"] == "two"


def test_standard_error_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    AuditLog("stderr").record(operation="one")
    assert json.loads(capsys.readouterr().err)["operation"] == "one"
