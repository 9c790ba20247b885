"""Raw requests on a socket to the real server in front of a platform that sees whatever gets through."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h11
import msgspec
import pytest

from tests.contract import probe_bodies, probe_headers, probe_lines
from tests.contract.probe import CALLER, HOST, JSON, SECRET, Probe, get, post, request
from tests.support.platform import FakePlatform
from tests.support.server import ROOT, server_process

pytestmark = pytest.mark.xdist_group("probe")

PROBES = [*probe_lines.PROBES, *probe_headers.PROBES, *probe_bodies.PROBES]
OF_THE_SESSION = {"session_not_found", "run_not_found"}  # errors that only the backend finds
INTERNAL = re.compile(
    re.escape(str(ROOT)) + r"|/(usr|home|root|opt|tmp|var)/|127\.0\.0\.1|::1|agentic-sessions|"
    r"Traceback|\.py\b|site-packages|[a-z]+\.[A-Z]\w+Error|<[a-z_.]+ object|"
    r"connexion|starlette|uvicorn|httptools|jsonschema|msgspec|aiohttp|flask|asyncio|sqlalchemy",
    re.IGNORECASE,
)


class Service(NamedTuple):
    platform: FakePlatform
    port: int


class Reply(NamedTuple):
    """One response as a strict parser reads it; names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("probe")
    with FakePlatform() as platform:
        platform.add_session("demo", "s1", phase="Running")
        platform.add_session("demo", "s2", phase="Stopped")
        with server_process(
            directory, BACKEND_URL=platform.url, RATE_LIMIT_RPS="100000", RATE_LIMIT_BURST="100000"
        ) as process:
            yield Service(platform, process.port)


def exchange(port: int, sent: bytes) -> bytes:
    """All bytes that come back until the server closes; it may do so before it has read all."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        received = bytearray()
        while data := connection.recv(65536):
            received += data
        return bytes(received)


def parse(received: bytes, *methods: str) -> list[Reply]:
    """The responses to requests of these methods, by a parser that refuses what is not well-formed HTTP."""
    replies: list[Reply] = []
    client = h11.Connection(h11.CLIENT)
    client.receive_data(received)
    client.receive_data(b"")
    for method in methods:
        if replies:
            client.start_next_cycle()
        client.send(h11.Request(method=method, target="/", headers=[("Host", "api.test")]))
        client.send(h11.EndOfMessage())
        body = bytearray()
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.InformationalResponse), event
        headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        replies.append(Reply(head.status_code, headers, bytes(body)))
    assert client.trailing_data[0] == b""
    return replies


def response(service: Service, probe: Probe) -> Reply:
    method = "HEAD" if probe.sent.startswith(b"HEAD ") else "GET"
    [reply] = parse(exchange(service.port, probe.sent), method)
    return reply


def test_every_probe_has_its_own_name() -> None:
    names = [probe.name for probe in PROBES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("probe", [pytest.param(probe, id=probe.name) for probe in PROBES])
def test_a_raw_request_gets_its_response(service: Service, probe: Probe) -> None:
    before = len(service.platform.requests)
    reply = response(service, probe)
    assert reply.status == probe.status, reply.body
    for name, value in probe.headers.items():
        assert reply.header(name) == [value]
    check_manners(reply)
    if probe.code:
        check_error(reply, probe)
    if reply.status >= 400 and probe.code not in OF_THE_SESSION:
        assert service.platform.requests[before:] == []


def check_manners(reply: Reply) -> None:
    """Check what holds for every response: one request id, and no value of the request."""
    [request_id] = reply.header("x-request-id")
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request_id)
    assert not reply.header("server")
    assert SECRET not in str(reply)


def check_error(reply: Reply, probe: Probe) -> None:
    """The one shape of errors, its code, a word of its text, and nothing from inside."""
    error = msgspec.json.decode(reply.body)
    assert reply.header("content-type") == ["application/json"]
    assert {"error", "code", "request_id"} <= set(error) <= {"error", "code", "request_id", "details"}
    assert [error["request_id"]] == reply.header("x-request-id")
    assert error["code"] == probe.code
    assert probe.word in error["error"] + str(error.get("details", ""))
    assert all(set(detail) == {"location", "message"} for detail in error.get("details", []))
    assert not INTERNAL.search(reply.body.decode())


@pytest.mark.parametrize("probe", [pytest.param(probe, id=probe.name) for probe in probe_headers.UNLISTED])
def test_an_unlisted_origin_gets_no_cross_origin_rights(service: Service, probe: Probe) -> None:
    assert not [name for name, _ in response(service, probe).headers if name.startswith("access-control")]


def test_pipelined_requests_get_their_responses_in_order(service: Service) -> None:
    served = [
        get(f"/v1/sessions/{name}", f"X-Request-ID: id-{name}").replace(b"Connection: close\r\n", b"")
        for name in ("s1", "S1", "s2")
    ]
    wrong = post("/v1/sessions", b"{").replace(b"Connection: close\r\n", b"")
    sent = b"".join([*served, wrong, get("/v1/sessions/s1", "X-Request-ID: last")])
    replies = parse(exchange(service.port, sent), "GET", "GET", "GET", "POST", "GET")
    assert [reply.status for reply in replies] == [200, 400, 200, 400, 200]
    assert [replies[n].header("x-request-id")[0] for n in (0, 1, 2, 4)] == ["id-s1", "id-S1", "id-s2", "last"]


def test_a_request_after_bytes_that_are_not_http_is_not_served(service: Service) -> None:
    before = len(service.platform.requests)
    [reply] = parse(exchange(service.port, b"nonsense\r\n\r\n" + get("/v1/sessions")), "GET")
    assert reply.status == 400
    assert service.platform.requests[before:] == []


def test_a_smuggled_request_is_not_served(service: Service) -> None:
    before = len(service.platform.requests)
    inner = get("/v1/sessions")
    lengths = ("Content-Length: 4", "Transfer-Encoding: chunked")
    outer = request("POST /v1/sessions HTTP/1.1", HOST, *CALLER, JSON, *lengths, body=b"0\r\n\r\n" + inner)
    [reply] = parse(exchange(service.port, outer), "POST")
    assert reply.status == 400
    assert service.platform.requests[before:] == []


@pytest.mark.parametrize(
    ("body", "length", "first", "status"),
    [
        (b'{"task": "t"}', 13, b"HTTP/1.1 100 Continue\r\n\r\n", 201),
        (b"", 2_000_000, b"", 413),
    ],
)
def test_a_client_that_waits_for_100_continue_gets_it_only_when_its_body_is_read(
    service: Service, body: bytes, length: int, first: bytes, status: int
) -> None:
    head = post("/v1/sessions", b"", JSON, "Expect: 100-continue").replace(
        b"Content-Length: 0", b"Content-Length: %d" % length
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(head)
        received = bytearray()
        while len(received) < len(first):
            received += connection.recv(len(first) - len(received))
        assert received == first
        connection.sendall(body)
        while not complete(received):
            received += connection.recv(65536)
    [reply] = parse(bytes(received), "POST")
    assert reply.status == status


def complete(received: bytearray) -> bool:
    """Whether the last head announces exactly the bytes after it; the server may wait for a body that does not come."""
    head, _, body = received.rpartition(b"\r\n\r\n")
    return b"content-length: %d\r\n" % len(body) in head + b"\r\n"


def test_ids_that_the_server_makes_differ(service: Service) -> None:
    ids = {parse(exchange(service.port, get("/v1/nothing")), "GET")[0].header("x-request-id")[0] for _ in range(5)}
    assert len(ids) == 5
