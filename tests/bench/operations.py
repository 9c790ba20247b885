"""The cost of every operation, sent one request after another."""

import http.client
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from tests.bench import exports, stub, subjects
from tests.bench.machine import calibration_ms, cores, cpu_seconds
from tests.bench.result import Row
from tests.bench.small import PLATFORM, SLOW, STORE
from tests.bench.subjects import OURS, QUIET, Subject
from tests.support.deadline import eventually

TITLE = "Every operation"
COLUMNS = ("requests", "p50 ms", "p99 ms", "CPU µs/request", "calibration ms")
REQUESTS = 200
SESSIONS = 50
LOGGED = "log-small"
TASK = "list the files"  # which the demo agent does quickly, with a tool
MESSAGES = [{"role": "user", "content": TASK}]


class Sent(NamedTuple):
    """One request."""

    method: str
    path: str
    body: Any = None


class Client:
    """One connection to a server; every response must be a success."""

    def __init__(self, server: Subject) -> None:
        address = urlsplit(server.url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        self._headers = {**server.headers, "Content-Type": "application/json"}
        self._created: list[str] = []

    def send(self, sent: Sent) -> bytes:
        """Send a request and return the response's body."""
        body = None if sent.body is None else msgspec.json.encode(sent.body)
        self._connection.request(sent.method, sent.path, body=body, headers=self._headers)
        response = self._connection.getresponse()
        content = response.read()
        assert response.status < http.client.BAD_REQUEST, f"{sent.method} {sent.path}: {response.status} {content!r}"
        return content

    def close(self) -> None:
        """Delete the created sessions that still exist, so that none works during other measurements; disconnect."""
        existing = {f"/v1/sessions/{session['id']}" for session in self.read("/v1/sessions?limit=100")["items"]}
        for session in existing.intersection(self._created):
            self.send(Sent("DELETE", session))
        self._connection.close()

    def read(self, path: str) -> Any:
        """Send a GET and return the decoded body."""
        return msgspec.json.decode(self.send(Sent("GET", path)))

    def session(self, task: str, status: str) -> str:
        """Create a session and return its path once its first run has this status."""
        path = f"/v1/sessions/{msgspec.json.decode(self.send(Sent('POST', '/v1/sessions', {'task': task})))['id']}"
        self._created.append(path)
        eventually(lambda: self.runs(path), lambda runs: [run["status"] for run in runs] == [status])
        return path

    def runs(self, session: str) -> list[dict[str, Any]]:
        """Return the runs of a session."""
        runs: list[dict[str, Any]] = self.read(f"{session}/runs")["runs"]
        return runs


Prepare = Callable[[Client], Sequence[Sent]]
"""Prepares an operation and returns the requests to measure."""


def rows() -> Iterator[Row]:
    """Yield a row for each operation of each backend that has it."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store, other = directory / "store", directory / "other"
        store.mkdir()
        other.mkdir()
        exports.write(directory / LOGGED, exports.log(0.02, runs=2))
        platform = stack.enter_context(subjects.platform(**{LOGGED: directory / LOGGED}))
        servers = {
            STORE: (stack.enter_context(subjects.embedded(store, **QUIET)), OF_STORE),
            PLATFORM: (stack.enter_context(subjects.ambient(other, platform, **QUIET)), OF_PLATFORM),
        }
        for place, (server, operations) in servers.items():
            for name, prepare in operations.items():
                yield Row(name, f"{place}: {OURS}", measured(server, prepare))


def measured(server: Subject, prepare: Prepare) -> dict[str, float]:
    """Measure the requests of an operation, sent one after another."""
    with closing(Client(server)) as client:
        requests, times = prepare(client), []
        calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
        for sent in requests:
            begun = time.perf_counter()
            client.send(sent)
            times.append(1000 * (time.perf_counter() - begun))
        used = cpu_seconds(server.pid) - before
    return {
        "requests": len(requests),
        "p50 ms": median(times),
        "p99 ms": quantiles(times, n=100)[-1],
        "CPU µs/request": 1e6 * used / len(requests),
        "calibration ms": (calibration + calibration_ms(cores().server)) / 2,
    }


def _reading(*tail: str) -> Prepare:
    """GET a path below a session whose run has ended; `{run}` is replaced by its id."""

    def prepare(client: Client) -> Sequence[Sent]:
        session = client.session(TASK, "completed")
        (run,) = client.runs(session)
        return [Sent("GET", session + "".join(tail).format(run=run["run_id"]))] * REQUESTS

    return prepare


def _on_file(method: str) -> Prepare:
    """Read or write a small file."""

    def prepare(client: Client) -> Sequence[Sent]:
        written = Sent("PUT", client.session(TASK, "completed") + "/workspace/file?path=notes.json", {"notes": []})
        client.send(written)
        return [written._replace(method=method, body=written.body if method == "PUT" else None)] * REQUESTS

    return prepare


def _on_one(method: str, tail: str, body: Any = None, *, busy: bool = False) -> Prepare:
    """Send the same request to one session."""

    def prepare(client: Client) -> Sequence[Sent]:
        session = client.session(SLOW, "running") if busy else client.session(TASK, "completed")
        return [Sent(method, session + tail, body)] * REQUESTS

    return prepare


def _on_many(method: str, tail: str = "", *, stopped: bool = False) -> Prepare:
    """Send a request to each of many sessions, running or stopped."""

    def prepare(client: Client) -> Sequence[Sent]:
        sessions = [client.session(TASK, "completed") for _ in range(SESSIONS)]
        for session in sessions if stopped else ():
            client.send(Sent("POST", f"{session}/stop"))
            eventually(lambda: client.read(session)["status"], lambda status: status == "stopped")  # noqa: B023 - called at once
        return [Sent(method, session + tail) for session in sessions]

    return prepare


def _cancel(client: Client) -> Sequence[Sent]:
    session = client.session(SLOW, "running")
    queued = [client.send(Sent("POST", f"{session}/message", {"content": TASK})) for _ in range(REQUESTS)]
    return [Sent("DELETE", f"{session}/runs/{msgspec.json.decode(accepted)['run_id']}") for accepted in queued]


def _decide(client: Client) -> Sequence[Sent]:
    sessions = [client.session("delete notes.txt", "waiting") for _ in range(SESSIONS)]
    return [
        Sent("POST", f"{session}/approvals/{approval['id']}", {"decision": "deny"})
        for session in sessions
        for approval in client.read(f"{session}/approvals")["items"]
    ]


def _run_agent(client: Client) -> Sequence[Sent]:
    session = client.session(TASK, "completed")
    return [Sent("POST", f"{session}/agui", _input(number)) for number in range(SESSIONS)]


def _input(number: int) -> dict[str, Any]:
    messages = [{"id": f"m{number}", **MESSAGES[0]}]
    return {"threadId": "t", "runId": str(uuid4()), "messages": messages, "tools": [], "context": [], "state": {}}


def _always(method: str, path: str, body: Any = None) -> Prepare:
    return lambda _client: [Sent(method, path, body)] * REQUESTS


_OF_RUN = "/runs/{run}"
OF_STORE: dict[str, Prepare] = {
    "list_sessions": _always("GET", "/v1/sessions"),
    "create_session": lambda _client: [Sent("POST", "/v1/sessions", {"task": TASK})] * SESSIONS,
    "get_session": _reading(),
    "update_session": _on_one("PATCH", "", {"display_name": "Another name"}),
    "delete_session": _on_many("DELETE"),
    "stop_session": _on_many("POST", "/stop"),
    "start_session": _on_many("POST", "/start", stopped=True),
    "interrupt_session": _on_one("POST", "/interrupt"),
    "send_message": _on_one("POST", "/message", {"content": TASK}, busy=True),
    "create_run": _on_one("POST", "/runs", {"messages": MESSAGES}, busy=True),
    "list_runs": _reading("/runs"),
    "get_run": _reading(_OF_RUN),
    "cancel_run": _cancel,
    "get_session_output, transcript": _reading("/output"),
    "get_session_output, compact": _reading("/output?format=compact"),
    "get_session_output, events": _reading("/output?format=events"),
    "stream_session_events, to the end": _reading("/events?run_id={run}"),
    "run_agent, to the end": _run_agent,
    "list_approvals": _reading("/approvals"),
    "answer_approval": _decide,
    "list_workspace_files": _reading("/workspace/files"),
    "read_workspace_file": _on_file("GET"),
    "write_workspace_file": _on_file("PUT"),
    "get_workspace_archive": _reading("/workspace/archive"),
    "get_workspace_diff": _reading("/workspace/diff"),
    "get_workspace_patch": _reading("/workspace/patch"),
    "get_session_logs": _reading("/logs"),
    "whoami": _always("GET", "/v1/whoami"),
    "list_agents": _always("GET", "/v1/agents"),
}

_SESSION = f"/v1/sessions/{LOGGED}"
_RUN = next(exports.log(0.02, runs=2)).run_id
OF_PLATFORM: dict[str, Prepare] = {
    "list_sessions": _always("GET", "/v1/sessions"),
    "create_session": _always("POST", "/v1/sessions", {"task": TASK}),
    "get_session": _always("GET", _SESSION),
    "update_session": _always("PATCH", _SESSION, {"display_name": "Another name"}),
    "delete_session": _always("DELETE", _SESSION),
    "stop_session": _always("POST", f"{_SESSION}/stop"),
    "start_session": _always("POST", f"/v1/sessions/{stub.STOPPED}/start"),
    "interrupt_session": _always("POST", f"{_SESSION}/interrupt"),
    "send_message": _always("POST", f"{_SESSION}/message", {"content": TASK}),
    "create_run": _always("POST", f"{_SESSION}/runs", {"messages": MESSAGES}),
    "list_runs": _always("GET", f"{_SESSION}/runs"),
    "get_run": _always("GET", f"{_SESSION}/runs/{_RUN}"),
    "get_session_output, transcript": _always("GET", f"{_SESSION}/output"),
    "get_session_output, compact": _always("GET", f"{_SESSION}/output?format=compact"),
    "get_session_output, events": _always("GET", f"{_SESSION}/output?format=events"),
    "stream_session_events, to the end": _always("GET", f"{_SESSION}/events?run_id={_RUN}"),
    "get_session_logs": _always("GET", f"{_SESSION}/logs"),
    "whoami": _always("GET", "/v1/whoami"),
    "list_agents": _always("GET", "/v1/agents"),
}
