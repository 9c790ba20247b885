"""The HTTP server byte by byte: sockets on loopback, and the middleware around a small app."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import requests
import uvicorn
from starlette.types import Receive, Scope, Send

from app.observability.metrics import Metrics
from app.server import protocol, request, run, slow_reader
from app.server.middleware import RequestMiddleware
from app.server.request import RequestContext, read_body
from app.settings import Settings

LIMIT = 1_048_576
MEGABYTES_50 = 50_000_000
large_ended = threading.Event()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """/length sends the body's length, /ignore reads none of it, /fail raises, /parts has no length, /large waits in
    mid-response for its reader, else the headers."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    content: object = sorted(name.decode() for name, _ in scope["headers"])
    if scope["path"] == "/length":
        content = len(await read_body(RequestContext.of(scope), receive, limit=LIMIT, stall=0.2))
    if scope["path"] == "/large":
        content = "x" * MEGABYTES_50
    body = json.dumps(content).encode()
    headers = [] if scope["path"] == "/parts" else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    first = len(body) - 1 if scope["path"] == "/large" else 1
    await send({"type": "http.response.body", "body": body[:first], "more_body": True})
    if scope["path"] == "/fail":
        raise RuntimeError("the source broke")
    await send({"type": "http.response.body", "body": body[first:]})
    if scope["path"] == "/large":
        large_ended.set()


async def _nothing() -> None:
    """Ready at once."""


@contextmanager
def running() -> Iterator[tuple[str, int]]:
    """A server in a thread, on a port of its own."""
    settings = Settings.model_validate({"rate_limit_rps": 1_000_000, "rate_limit_burst": 1_000_000})
    wrapped = RequestMiddleware(app, settings=settings, metrics=Metrics(), ready=_nothing)
    [listener] = run.listen("127.0.0.1", 0)
    address: tuple[str, int] = listener.getsockname()
    running_server = uvicorn.Server(run.configure(wrapped))
    thread = threading.Thread(target=running_server.run, args=([listener],))
    thread.start()
    try:
        yield address
    finally:
        running_server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with running() as address:
        yield address


@pytest.fixture
def url(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> Any:
        return json.loads(self.body)["code"]


class Connection:
    """A client that decides about every byte."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def reply(self) -> Reply:
        """The next whole response."""
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = self.file.read(int(headers["content-length"]))
        assert len(body) == int(headers["content-length"])
        return Reply(status, headers, body)

    def closed(self) -> bool:
        """Whether the server closes without another byte."""
        return self.file.read() == b""


@pytest.fixture
def connection(address: tuple[str, int]) -> Iterator[Connection]:
    with Connection(address) as connection:
        yield connection


class TestBodiesNobodyReads:
    @pytest.mark.parametrize("header", [{}, {"Connection": "close"}])
    def test_a_413_reaches_a_client_that_reads_after_it_has_sent_all(self, url: str, header: dict[str, str]) -> None:
        response = requests.post(f"{url}/length", data=b"x" * MEGABYTES_50, headers=header, timeout=30)

        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")

    def test_a_413_reaches_a_client_that_sends_chunks(self, url: str) -> None:
        chunks = (b"x" * 100_000 for _ in range(500))

        response = requests.post(f"{url}/length", data=chunks, timeout=30)

        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")

    def test_a_413_is_sent_while_the_client_still_sends(self, connection: Connection) -> None:
        connection.send(
            b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MEGABYTES_50, b"x" * 100_000
        )

        reply = connection.reply()
        connection.send(*[b"x" * 100_000] * 499)

        assert (reply.status, reply.code) == (413, "payload_too_large")
        assert reply.headers["connection"] == "close"
        assert connection.closed()

    def test_a_client_that_waits_for_100_continue_gets_413_instead(self, connection: Connection) -> None:
        connection.send(
            b"POST /length HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % MEGABYTES_50
        )

        assert connection.reply().status == 413

    def test_a_client_that_waits_for_100_continue_gets_it_when_the_body_is_read(self, connection: Connection) -> None:
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert connection.file.readline() == b"\r\n"

        connection.send(b"ab")

        assert connection.reply().body == b"2"

    def test_the_connection_stays_open_when_a_small_body_was_ignored(self, connection: Connection) -> None:
        connection.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b"he", b"llo")
        first = connection.reply()
        connection.send(b"GET /ignore HTTP/1.1\r\nHost: a\r\n\r\n")

        assert (first.status, connection.reply().status) == (200, 200)
        assert "connection" not in first.headers

    def test_the_connection_is_closed_when_the_ignored_body_does_not_arrive(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request, "_SMALL_SECONDS", 0.01)
        monkeypatch.setattr(request, "_LINGER_SECONDS", 0.01)
        connection.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")

        reply = connection.reply()

        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert connection.closed()

    def test_the_lingering_close_ends_when_a_client_never_stops(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request, "_LINGER_BYTES", 1_000_000)
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % 10**12)
        assert connection.reply().status == 413

        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            connection.send(*[b"x" * 1_000_000] * 1000)

    def test_a_body_that_stalls_gets_408(self, connection: Connection) -> None:
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")

        reply = connection.reply()

        assert (reply.status, reply.code) == (408, "request_timeout")


class TestHeads:
    def test_a_complete_head_over_64_kib_gets_431(self, connection: Connection) -> None:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 66_000 + b"\r\n\r\n")

        reply = connection.reply()

        assert (reply.status, reply.code) == (431, "headers_too_large")

    @pytest.mark.parametrize("size", [65_534, 65_535, 65_536, 100_000])
    def test_a_complete_target_over_64_kib_gets_431(self, connection: Connection, size: int) -> None:
        connection.send(b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: api.test\r\n\r\n")

        reply = connection.reply()

        assert (reply.status, reply.code) == (431, "headers_too_large")

    @pytest.mark.parametrize(
        "start", [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 9000]
    )
    def test_a_head_that_does_not_end_gets_431(self, connection: Connection, start: bytes) -> None:
        connection.send(start, b"a" * 10_000_000)

        reply = connection.reply()

        assert (reply.status, reply.code) == (431, "headers_too_large")
        assert json.loads(reply.body)["request_id"] == reply.headers["x-request-id"]
        assert reply.headers["connection"] == "close"
        assert connection.closed()

    @pytest.mark.parametrize("nonsense", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n"])
    def test_bytes_that_are_not_http_get_an_error_in_json(self, connection: Connection, nonsense: bytes) -> None:
        connection.send(nonsense)

        reply = connection.reply()

        assert (reply.status, reply.code) == (400, "invalid_request")
        assert connection.closed()

    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost"])
    def test_a_head_that_does_not_arrive_closes_the_connection(
        self, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
        with Connection(address) as connection:
            connection.send(sent)

            assert connection.closed()

    def test_a_second_head_that_does_not_end_closes_the_connection(
        self, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
        with Connection(address) as connection:
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.reply().status == 200
            connection.send(b"GET / HT")

            assert connection.closed()

    def test_a_response_that_is_not_read_ends_with_its_connection(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slow_reader, "READ_SECONDS", 0.2)
        large_ended.clear()

        connection.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")

        assert large_ended.wait(30)

    def test_an_endless_chunk_extension_is_refused(self, connection: Connection) -> None:
        connection.send(
            b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;", *[b"a" * 100_000] * 10
        )

        assert connection.reply().status == 431

    def test_a_broken_chunk_is_refused(self, connection: Connection) -> None:
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")

        assert connection.reply().status == 400

    def test_trailers_are_not_taken_for_headers(self, connection: Connection) -> None:
        head = b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"
        connection.send(head, b"2\r\nab\r\n0\r\nX-Late: 1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-Next: 1\r\n\r\n")

        assert connection.reply().body == b"2"
        assert json.loads(connection.reply().body) == ["host", "x-next"]


class TestUpgrades:
    OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"

    def test_a_body_is_read_when_the_client_offers_another_protocol(self, connection: Connection) -> None:
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n", self.OFFER, b"\r\nhe", b"llo")

        assert connection.reply().body == b"5"

    def test_a_chunked_body_is_read_when_the_client_offers_another_protocol(self, connection: Connection) -> None:
        connection.send(b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", self.OFFER, b"\r\n")
        connection.send(b"5\r\nhello\r\n", b"0\r\n\r\n")

        assert connection.reply().body == b"5"

    def test_the_next_request_is_served_when_an_offer_was_declined(self, connection: Connection) -> None:
        offer = b"GET / HTTP/1.1\r\nHost: a\r\n" + self.OFFER + b"\r\n"
        connection.send(offer + offer + b"GET /length HTTP/1.1\r\nHost: a\r\nX-Next: 1\r\n\r\n")

        replies = [connection.reply() for _ in range(3)]

        assert [json.loads(reply.body) for reply in replies] == [
            ["connection", "host", "http2-settings", "upgrade"]
        ] * 2 + [0]


class TestAnswers:
    def test_an_aborted_response_does_not_look_complete(self, url: str) -> None:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = requests.get(f"{url}/fail", timeout=30).content

    def test_head_has_no_body_and_the_length_of_get(self, connection: Connection) -> None:
        connection.send(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n")

        status, length = connection.file.readline(), b""
        while (line := connection.file.readline()) != b"\r\n":
            length = line if line.startswith(b"content-length") else length
        assert (status, length) == (b"HTTP/1.1 200 OK\r\n", b"content-length: 15\r\n")
        assert connection.reply().body == b'{"status":"ok"}'

    def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(self, connection: Connection) -> None:
        connection.send(b"GET /parts HTTP/1.0\r\nHost: a\r\n\r\n")

        head, _, body = connection.file.read().partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == b'["host"]'

    def test_a_client_of_http_1_0_gets_the_length_where_it_is_known(self, connection: Connection) -> None:
        connection.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")

        reply = connection.reply()
        assert (reply.body, connection.closed()) == (b'["host"]', True)

    def test_a_head_of_http_1_0_has_no_body(self, connection: Connection) -> None:
        connection.send(b"HEAD /parts HTTP/1.0\r\n\r\n")

        assert connection.file.read().endswith(b"\r\n\r\n")

    def test_no_header_names_the_software_of_the_server(self, url: str) -> None:
        assert "server" not in requests.get(f"{url}/health", timeout=30).headers

    def test_a_forwarded_address_from_loopback_is_not_trusted(self, url: str) -> None:
        seen = requests.get(f"{url}/", headers={"X-Forwarded-For": "203.0.113.1"}, timeout=30).json()

        assert "x-forwarded-for" in seen


class TestListen:
    def test_a_port_in_use_is_named(self, address: tuple[str, int]) -> None:
        with pytest.raises(run.ListenError, match=rf"^PORT {address[1]} on 127\.0\.0\.1 is in use"):
            run.listen(*address)

    def test_an_unknown_host_is_named(self) -> None:
        with pytest.raises(run.ListenError, match=r"^cannot listen on HOST .*invalid, PORT 0"):
            run.listen("no-such-host.invalid", 0)

    def test_all_addresses_of_a_name_share_one_port(self) -> None:
        sockets = run.listen("localhost", 0)
        ports = {bound.getsockname()[1] for bound in sockets}
        for bound in sockets:
            bound.close()

        assert len(ports) == 1
