"""The benchmarks measure correctly: their platform, their peers, and one round of each."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import requests
from starlette.types import ASGIApp

from app.backends.ambient.backend import NOT_SUPPORTED
from app.conform.contract import Contract
from app.factory import create_app
from app.models.caller import Caller
from app.models.runs import MessageCreate
from app.models.sessions import SessionStatus
from app.spec import load
from tests.bench import cluster, exports, large, mixed, operations, pages, small, stub, subjects, workspaces
from tests.bench.canned import PreparedBackend
from tests.bench.large import Log
from tests.bench.load import Load
from tests.bench.peers import connexion_app, fastapi_app, outputs
from tests.bench.peers.sources import blocking_source, source
from tests.bench.reading import read
from tests.bench.resources import RUN
from tests.bench.result import Row
from tests.bench.small import PLATFORM, STORE, Case, Place
from tests.bench.start import NOWHERE, started
from tests.bench.subjects import OURS
from tests.support.contract import AUTH, TOKEN, Sent, call, settings
from tests.support.platform_backend import connected

pytestmark = pytest.mark.slow

JSON = (*AUTH.items(), ("Content-Type", "application/json"))
GOOD = [
    Sent("GET", "/v1/sessions/s1"),
    Sent("GET", "/v1/sessions?limit=100"),
    Sent("POST", "/v1/sessions/s1/message", JSON, b'{"content":"c"}'),
]
BAD = [
    Sent("GET", "/v1/sessions/s1", ()),
    Sent("GET", "/v1/sessions/s1", (("Authorization", TOKEN), ("X-Ambient-Project", "P1"))),
    Sent("GET", "/v1/sessions/S1"),
    Sent("GET", "/v1/sessions?limit=101"),
    Sent("GET", "/v1/sessions?page=2"),
    Sent("POST", "/v1/sessions/s1/message", JSON, b'{"content":" "}'),
    Sent("POST", "/v1/sessions/s1/message", JSON, b'{"content":"c","more":1}'),
]


@pytest.fixture(autouse=True)
def nothing_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not pin servers to one core, where they would wait for tests that run at the same time."""
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, _cores: None)


@pytest.fixture(scope="module", params=["fastapi", "asyncapp", "flaskapp"])
def peer(request: pytest.FixtureRequest) -> ASGIApp:
    match request.param:
        case "fastapi":
            return fastapi_app.make(source(None))
        case "asyncapp":
            return connexion_app.asynchronous(source(None))
    return connexion_app.flask(blocking_source(None))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ASGIApp:
    return create_app(settings(tmp_path_factory.mktemp("server")), PreparedBackend())


@pytest.mark.parametrize("sent", GOOD, ids=lambda sent: sent.target)
async def test_a_peer_responds_like_the_server(server: ASGIApp, peer: ASGIApp, sent: Sent) -> None:
    ours, theirs = await call(server, sent), await call(peer, sent)
    assert theirs.status == ours.status
    assert theirs.json() == ours.json()


@pytest.mark.parametrize("sent", BAD, ids=lambda sent: f"{sent.target} {sent.body.decode()}")
async def test_a_peer_refuses_the_same_requests_as_the_server(server: ASGIApp, peer: ASGIApp, sent: Sent) -> None:
    ours, theirs = await call(server, sent), await call(peer, sent)
    assert theirs.status == ours.status


async def test_the_platform_backend_accepts_the_canned_platform() -> None:
    caller = Caller(token="t", project="p1")
    with subjects.platform() as platform:
        async with connected(platform.url) as backend:
            assert (await backend.sessions.get_session(caller, "s1")).status is SessionStatus.RUNNING
            page = await backend.sessions.list_sessions(caller, limit=100, offset=0, search=None, status=(), label=())
            assert len(page.items) == 100
            listed = [
                await backend.sessions.list_sessions(caller, limit=100, offset=100, search=None, status=(), label=())
                for _ in range(stub.FURTHER)
            ]
            assert len({session.id for page in listed for session in page.items}) == 100 * stub.FURTHER
            assert (await backend.runs.send_message(caller, "s1", MessageCreate(content="c"))).value.run_id == RUN


def three(url: str, headers: Mapping[str, str], *, connections: int, seconds: int, body: str | None = None) -> Load:
    """Send three requests, whatever the duration."""
    assert connections > 0
    assert seconds > 0
    start = time.perf_counter()
    for _ in range(3):
        requests.request("POST" if body else "GET", url, headers=headers, data=body, timeout=10).raise_for_status()
    return Load(3, time.perf_counter() - start, 1.0, 2.0, 0, 0)


def test_a_case_is_measured_on_the_server_and_compared(tmp_path: Path) -> None:
    with subjects.platform() as platform, subjects.ambient(tmp_path, platform) as ours:
        found = small.measured(Case(small.GET, "/v1/sessions/{}"), [Place(PLATFORM, [ours])], three)
    figures = found[PLATFORM, OURS]
    assert set(figures) == set(small.COLUMNS) - {"vs FastAPI"}
    assert all(figure > 0 for figure in figures.values())


def test_the_server_without_a_backend_refuses_no_request_for_its_rate() -> None:
    count, received = 10_000, b""
    with subjects.peer("canned") as server:
        address = urlsplit(server.url)
        headers = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        request = f"GET /v1/sessions/s1 HTTP/1.1\r\nHost: {address.netloc}\r\n{headers}\r\n".encode()
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            sending = threading.Thread(target=connection.sendall, args=(request * count,))
            sending.start()
            while received.count(b"HTTP/1.1 ") < count:
                received += connection.recv(1 << 20)
            sending.join()
    assert received.count(b"HTTP/1.1 200 OK") == count


def test_a_peer_returns_a_log_of_many_megabytes(tmp_path: Path) -> None:
    exports.write(tmp_path / "log-5", exports.log(5))
    with subjects.platform(**{"log-5": tmp_path / "log-5"}) as platform, subjects.peer("fastapi", platform) as peer:
        assert read(peer, "/v1/sessions/log-5/output?format=events").size > 4 << 20


def test_the_last_page_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LENGTHS", (100, 300))
    monkeypatch.setattr(pages, "LARGEST_PAGE", 150)
    rows = list(pages.rows())
    assert [row.case for row in rows] == ["last 100 of 100 events", "last 100 of 300 events"] * 2
    assert all(set(row.figures) == set(pages.COLUMNS) for row in rows)


def test_both_backends_and_the_peer_return_the_generated_log(tmp_path: Path) -> None:
    log = Log("tiny", "log-tiny", lambda: exports.log(0.05, runs=3))
    generated = [msgspec.json.decode(written.event) for written in log.events()]
    with ExitStack() as stack:
        _, starts = large.places(stack, tmp_path, [log])
        outputs_ = {place: _outputs(start, log) for place, start in starts.items()}
    export = (tmp_path / log.session).read_bytes()
    for events, compact, transcript, runs in outputs_.values():
        assert events["events"] == generated
        assert 0 < len(compact["events"]) < len(generated)
        assert transcript["messages"][0]["role"] == "user"
        assert len(runs["runs"]) == 3
    *ours, our_transcript, our_runs = outputs_[PLATFORM]
    *theirs, transcript = (
        msgspec.json.decode(outputs.output(export, log.session, format))
        for format in ("events", "compact", "transcript")
    )
    assert theirs == ours
    assert [(each["id"], each["content"]) for each in transcript["messages"]] == [
        (each["id"], each["content"]) for each in our_transcript["messages"]
    ]
    assert msgspec.json.decode(outputs.runs(export, log.session)) == our_runs


def _outputs(start: large.Start, log: Log) -> list[Any]:
    """Return the log in every format, each also read like the benchmark reads it."""
    with start() as server:
        found = []
        for format in large.FORMATS:
            path = large.target(log, format)
            response = requests.get(f"{server.url}{path}", headers=server.headers, timeout=10)
            measured = read(server, path)
            assert measured.size == len(response.content)
            assert 0 < measured.first <= measured.whole
            found.append(response.json())
        return found


def test_long_reads_are_measured_alone_and_together(tmp_path: Path) -> None:
    log = Log("1 MB", "log-tiny", lambda: exports.log(0.05, runs=3))
    with ExitStack() as stack:
        _, starts = large.places(stack, tmp_path, [log])
        alone = large.measured(starts[PLATFORM], log, "events")
        together = mixed.at_once(starts[PLATFORM], log)
    assert set(alone) == set(large.COLUMNS)
    assert together["reads"] >= 4
    assert together["seconds per read"] > 0


def test_every_operation_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "REQUESTS", 2)
    monkeypatch.setattr(operations, "SESSIONS", 2)
    rows = list(operations.rows())
    measured = {(row.subject.partition(":")[0], row.case.partition(",")[0]) for row in rows}
    known = set(Contract(load()).operations)
    # A push takes as long as its remote does.
    assert {name for place, name in measured if place == STORE} == known - {"push_workspace"}
    # The stub's agents ask nothing, their runs have no stream, and their workspaces no files.
    files = {"list_workspace_files", "read_workspace_file", "write_workspace_file", "get_workspace_archive"}
    unmeasured = {"run_agent", "list_approvals", "answer_approval", *files}
    assert known - {name for place, name in measured if place == PLATFORM} == (NOT_SUPPORTED & known) | unmeasured
    assert all(row.figures["requests"] == 2 and row.figures["CPU µs/request"] > 0 for row in rows)


def test_large_workspaces_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FILES": 20, "DIRECTORIES": 2, "ARCHIVE_MB": 4, "ARCHIVED_FILES": 2}.items():
        monkeypatch.setattr(workspaces, name, value)
    rows = [row for row in workspaces.rows() if isinstance(row, Row)]
    assert [row.case for row in rows] == [
        "list 20 files",
        "compare 20 files, first time",
        "compare 20 files, second time",
        "0.004 GB as tar.gz",
        "0.004 GB as zip",
    ]
    assert all(set(row.figures) == set(workspaces.COLUMNS) for row in rows)
    assert rows[3].figures["response MB"] > 1


def test_a_cluster_is_measured_beside_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZES": ((2, 1),), "CLIENTS": 1, "RUNS": 2, "wrk": three}.items():
        monkeypatch.setattr(cluster, name, value)
    rows = list(cluster.rows())
    cases = [case.name for case in cluster.CASES] + [cluster.STARTED, cluster.ENDED]
    subjects = ("SQLite, 1 server", "PostgreSQL, 2 servers, 1 worker")
    assert [(row.subject, row.case) for row in rows] == [(subject, case) for subject in subjects for case in cases]
    assert all(figure > 0 for row in rows for figure in row.figures.values())


def test_a_start_ends_with_the_first_response(tmp_path: Path) -> None:
    figures = started(tmp_path, BACKEND_URL=NOWHERE)
    assert set(figures) == {"first response s", "CPU s", "idle RSS MB", "calibration ms"}
    assert all(figure > 0 for figure in figures.values())
