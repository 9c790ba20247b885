"""Operations over HTTP: raw bodies, several successes, and responses that are waited for."""

# ruff: noqa: ARG001 - a handler takes whatever the contract gives it

import asyncio
from collections.abc import AsyncIterable
from types import SimpleNamespace

import pytest
from starlette.types import ASGIApp, Message

from app.errors import RunNotFound
from app.models.caller import Caller
from app.models.runs import AcceptedRun
from app.port.backend import Backend
from app.results import FileWritten, Idempotent
from tests.support.contract import AUTH, Response, Sent, call
from tests.support.small_contract import BYTES, TEXT, definition, parameter, responses, serve

MAX_RAW = 5000
RAW = {"required": True, "content": BYTES}


class Uploads:
    """An operation that takes a raw body."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.calls = 0

        async def put_file(backend: Backend, caller: Caller, *, name: str, body: AsyncIterable[bytes]) -> FileWritten:
            self.calls += 1
            async for chunk in body:
                self.chunks.append(chunk)
            return FileWritten("v1")

        put = definition("put_file", parameter("name", "path"), requestBody=RAW, responses=responses(204))
        self.app = serve({"/files/{name}": {"put": put}}, put_file, max_body=10, max_raw_body=MAX_RAW)

    async def put(self, body: bytes, *headers: tuple[str, str], chunked: bool = False) -> Response:
        return await call(self.app, Sent("PUT", "/v1/files/a", (*AUTH.items(), *headers), body, chunked=chunked))


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json", "text/html; charset=utf-16"])
async def test_a_raw_body_reaches_the_handler_as_it_comes_whatever_its_type(uploads: Uploads, kind: str) -> None:
    body = bytes(range(256)) * 10
    response = await uploads.put(body, ("Content-Type", kind), chunked=True)
    assert (response.status, response.header("etag"), response.body) == (204, '"v1"', b"")
    assert len(uploads.chunks) == 2
    assert b"".join(uploads.chunks) == body


async def test_a_raw_body_may_be_empty_and_have_no_type(uploads: Uploads) -> None:
    assert (await uploads.put(b"")).status == 204


async def test_a_raw_body_has_a_limit_of_its_own(uploads: Uploads) -> None:
    assert (await uploads.put(b"x" * MAX_RAW)).status == 204
    response = await uploads.put(b"x" * (MAX_RAW + 1))
    assert (response.status, response.json()["code"]) == (413, "payload_too_large")
    assert uploads.calls == 1  # the second was refused by its Content-Length


async def test_a_raw_body_without_a_length_is_refused_while_it_is_read(uploads: Uploads) -> None:
    response = await uploads.put(b"x" * (MAX_RAW + 1), chunked=True)
    assert (response.status, response.json()["code"]) == (413, "payload_too_large")
    assert len(b"".join(uploads.chunks)) <= MAX_RAW


async def test_a_raw_body_with_a_coding_is_refused(uploads: Uploads) -> None:
    response = await uploads.put(b"x", ("Content-Encoding", "gzip"))
    assert (response.status, uploads.calls) == (415, 0)


async def test_a_token_is_checked_before_a_raw_body(uploads: Uploads) -> None:
    too_large = b"x" * (MAX_RAW + 1)
    response = await call(uploads.app, Sent("PUT", "/v1/files/a", (), too_large))
    assert response.status == 401


async def test_one_operation_may_succeed_with_and_without_content() -> None:
    async def find(backend: Backend, caller: Caller, *, name: str) -> AcceptedRun | None:
        return AcceptedRun(run_id=name, thread_id="t") if name == "known" else None

    get = definition("find", parameter("name", "query"), responses=responses(200, 204))
    app = serve({"/find": {"get": get}}, find)
    found, missing = [await call(app, Sent("GET", f"/v1/find?name={name}")) for name in ("known", "unknown")]
    assert (found.status, found.json()) == (200, {"run_id": "known", "thread_id": "t"})
    assert (missing.status, missing.body, missing.header("content-type")) == (204, b"", None)


async def test_a_text_is_sent_unchanged() -> None:
    async def read_log(backend: Backend, caller: Caller) -> str:
        return "a line\ncafé\n"

    app = serve({"/log": {"get": definition("read_log", responses=responses(200, content=TEXT))}}, read_log)
    response = await call(app, Sent("GET", "/v1/log"))
    assert response.body.decode() == "a line\ncafé\n"
    assert response.header("content-type") == "text/plain; charset=utf-8"
    assert response.header("content-length") == str(len(response.body))


@pytest.mark.parametrize("replayed", [False, True])
async def test_a_location_is_where_the_first_link_leads(replayed: bool) -> None:
    async def create_thing(backend: Backend, caller: Caller, *, room: str) -> Idempotent[AcceptedRun]:
        return Idempotent(AcceptedRun(run_id="a b/c", thread_id="t"), replayed=replayed)

    async def get_thing(backend: Backend, caller: Caller, *, room: str, thing: str) -> None: ...

    created = {
        "description": "-",
        "content": {"application/json": {"schema": {}}},
        "headers": {"Location": {"schema": {"type": "string"}}},
        "links": {
            "GetThing": {
                "operationId": "get_thing",
                "parameters": {"thing": "$response.body#/run_id", "room": "$request.path.room"},
            }
        },
    }
    room, thing = parameter("room", "path"), parameter("thing", "path")
    paths = {
        "/rooms/{room}": {"post": definition("create_thing", room, responses={"201": created})},
        "/rooms/{room}/{thing}": {"get": definition("get_thing", room, thing)},
    }
    response = await call(serve(paths, create_thing, get_thing), Sent("POST", "/v1/rooms/r1"))
    assert (response.status, response.header("location")) == (201, "/v1/rooms/r1/a%20b%2Fc")
    assert response.header("idempotency-replayed") == ("true" if replayed else None)


# Long polls


class Poll:
    """A request whose response is waited for, on a connection that may be closed, as the server may stop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.sent: list[Message] = []
        self.connection = SimpleNamespace(stopping=asyncio.Event(), request_complete=True)
        self.disconnected = asyncio.Event()

    async def get(self, seconds: int) -> bytes:
        async def receive() -> Message:
            await self.disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        scope = Sent("GET", f"/v1/runs?wait={seconds}").scope() | {"state": {"connection": self.connection}}
        await self._app(scope, receive, send)
        body: bytes = self.sent[-1]["body"]
        return body


class Runs:
    """An operation that can be waited for; `ended` is set once the wait is over."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ended = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = False

        async def get_run(backend: Backend, caller: Caller, *, wait: int) -> AcceptedRun:
            self.started.set()
            try:
                if wait:
                    await self.ended.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            if error:
                raise error
            return AcceptedRun(run_id=f"after {wait}", thread_id="t")

        get = definition("get_run", parameter("wait", "query", type="integer", default=0))
        self.app = serve({"/runs": {"get": get}}, get_run)


def body(wait: int) -> bytes:
    return b'{"run_id":"after %d","thread_id":"t"}' % wait


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_long_poll_ends_with_its_result(seconds: int) -> None:
    runs = Runs()
    runs.ended.set()
    assert await Poll(runs.app).get(seconds) == body(seconds)


@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_long_poll_ends_when_the_server_stops_or_the_client_disconnects(end: str) -> None:
    runs = Runs()
    poll = Poll(runs.app)
    polling = asyncio.create_task(poll.get(60))
    await runs.started.wait()
    assert poll.sent == []
    (poll.connection.stopping if end == "server" else poll.disconnected).set()
    assert await polling == body(0)
    assert runs.cancelled


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_long_poll_may_end_with_an_error(seconds: int) -> None:
    runs = Runs(error=RunNotFound())
    runs.ended.set()
    poll = Poll(runs.app)
    assert b'"code":"run_not_found"' in await poll.get(seconds)
    assert poll.sent[0]["status"] == 404
