"""A client of the API for tests, which checks every response against the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import requests

from app.conform.contract import Contract
from tests.support.deadline import eventually
from tests.support.document import closed

EVENT_STREAM = "text/event-stream"
PASSED_ON = "backend_error"
"""The code with which a refusal of the platform is passed on, whatever its status."""


def served_contract(url: str) -> Contract:
    """Return the document that a server serves, with closed answers."""
    return Contract(closed(requests.get(f"{url}/v1/openapi.json", timeout=30).json()))


def check_error(response: requests.Response) -> None:
    """Fail unless the body has the shape of an error and the request id of the header."""
    body = response.json()
    assert set(body) <= {"error", "code", "request_id", "details"}
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert body["error"].strip()


class ApiResponse:
    """A response that conforms to the document."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.response = response

    @cached_property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.response.content

    @cached_property
    def body(self) -> Any:
        """The decoded JSON body, None if it is empty."""
        return json.loads(self.content) if self.content else None

    @property
    def error(self) -> tuple[int, str]:
        """The status and the code of an error."""
        return self.status, self.body["code"]

    @property
    def faults(self) -> list[str]:
        """The locations in the details of a 400."""
        return [detail["location"] for detail in self.body["details"]]

    def ok(self) -> Any:
        """Return the body of a success; fail with the error otherwise."""
        assert self.status < 300, f"{self.status}: {self.content[:500]!r}"
        return self.body


UNKNOWN_CURSORS = ["9999", str(2**53), "9" * 64, "01", "x", "-1", "1.0"]
"""Texts that are cursors by their form, but of no log of a test."""


class StreamFrame(NamedTuple):
    """An event of a stream; `id` is None if the frame has none."""

    id: str | None
    data: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.data)
        return event


class Stream:
    """An open event stream; iterating over it ends with the stream."""

    def __init__(self, response: requests.Response) -> None:
        assert response.headers["Content-Type"] == EVENT_STREAM, response.text
        self.response = response
        self.comments: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.response.close()

    def __iter__(self) -> Iterator[StreamFrame]:
        """Yield every complete frame; an aborted connection raises the exception of requests."""
        unread = b""
        for chunk in self.response.iter_content(None):
            *blocks, unread = (unread + chunk).split(b"\n\n")
            for block in blocks:
                lines = [line.partition(b": ") for line in block.split(b"\n")]
                ids = [value.decode() for field, _, value in lines if field == b"id"]
                data = [value for field, _, value in lines if field == b"data"]
                self.comments += [value for field, _, value in lines if field == b""]
                assert len(ids) <= 1
                if data:
                    yield StreamFrame(ids[0] if ids else None, b"\n".join(data))
                else:
                    assert not ids, "a frame without an event has an id"
        assert unread == b""


class Api:
    """A caller in a project. Each method is an operation; its arguments are sent unchanged."""

    def __init__(self, url: str, contract: Contract, *, token: str | None = None, project: str | None = None) -> None:
        self.url = url
        self.contract = contract
        self.token = token
        self.project = project
        self.http = requests.Session()
        self.http.trust_env = False  # a command that runs in this process changes the environment meanwhile

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def as_(self, *, token: str | None = None, project: str | None = None) -> "Api":
        """Return another caller of the same server."""
        return type(self)(self.url, self.contract, token=token, project=project)

    def call(
        self,
        operation_id: str,
        *path: str,
        method: str | None = None,
        query: Any = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> ApiResponse:
        """Send a request of an operation and check the response; `options` are passed to requests."""
        its_method, target = self.contract.request(operation_id, *path)
        response = self.http.request(
            method or its_method,
            self.url + self.contract.base + target,
            params=query,
            json=body,
            headers={**self._identity(), **(headers or {})},
            allow_redirects=False,
            timeout=60,
            **options,
        )
        self.contract.check_response(operation_id, response, bodiless=method == "HEAD")
        if not response.ok and method != "HEAD":
            check_error(response)
            codes = self.contract.described(operation_id, response.status_code)["x-error-codes"]
            assert response.json()["code"] in [*codes, PASSED_ON], f"{operation_id}: {response.text}"
        if sent := (headers or {}).get("X-Request-ID"):
            assert response.headers["X-Request-ID"] == sent
        return ApiResponse(response)

    def _identity(self) -> dict[str, str]:
        sent = {"Authorization": f"Bearer {self.token}" if self.token else None, "X-Ambient-Project": self.project}
        return {name: value for name, value in sent.items() if value is not None}

    def list_sessions(self, **query: Any) -> ApiResponse:
        return self.call("list_sessions", query=query)

    def create_session(self, **body: Any) -> ApiResponse:
        return self.call("create_session", body=body)

    def whoami(self) -> ApiResponse:
        return self.call("whoami")

    def list_agents(self) -> ApiResponse:
        return self.call("list_agents")

    def get_session(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("get_session", session_id, query=query)

    def update_session(self, session_id: str, **body: Any) -> ApiResponse:
        return self.call("update_session", session_id, body=body)

    def delete_session(self, session_id: str) -> ApiResponse:
        return self.call("delete_session", session_id)

    def start_session(self, session_id: str) -> ApiResponse:
        return self.call("start_session", session_id)

    def stop_session(self, session_id: str) -> ApiResponse:
        return self.call("stop_session", session_id)

    def interrupt_session(self, session_id: str) -> ApiResponse:
        return self.call("interrupt_session", session_id)

    def send_message(self, session_id: str, content: str, **more: Any) -> ApiResponse:
        return self.call("send_message", session_id, body={"content": content, **more})

    def create_run(self, session_id: str, **body: Any) -> ApiResponse:
        return self.call("create_run", session_id, body=body)

    def list_runs(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("list_runs", session_id, query=query)

    def get_run(self, session_id: str, run_id: str, **query: Any) -> ApiResponse:
        return self.call("get_run", session_id, run_id, query=query)

    def cancel_run(self, session_id: str, run_id: str) -> ApiResponse:
        return self.call("cancel_run", session_id, run_id)

    def list_approvals(self, session_id: str) -> ApiResponse:
        return self.call("list_approvals", session_id)

    def answer_approval(self, session_id: str, approval_id: str, decision: str, **more: Any) -> ApiResponse:
        return self.call("answer_approval", session_id, approval_id, body={"decision": decision, **more})

    def output(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("get_session_output", session_id, query=query)

    def logs(self, session_id: str, **query: Any) -> list[str]:
        """Return the lines of the session log."""
        response = self.call("get_session_logs", session_id, query=query)
        assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        return response.content.decode().splitlines()

    def files(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("list_workspace_files", session_id, query=query)

    def read_file(self, session_id: str, path: str, **headers: str) -> ApiResponse:
        return self.call("read_workspace_file", session_id, query={"path": path}, headers=headers)

    def write_file(self, session_id: str, path: str, content: Any) -> ApiResponse:
        return self.call("write_workspace_file", session_id, query={"path": path}, data=content)

    def archive(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("get_workspace_archive", session_id, query=query)

    def push(self, session_id: str, **body: Any) -> ApiResponse:
        return self.call("push_workspace", session_id, body=body)

    def diff(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("get_workspace_diff", session_id, query=query)

    def patch(self, session_id: str, **query: Any) -> ApiResponse:
        return self.call("get_workspace_patch", session_id, query=query)

    def stream(self, session_id: str, *, last_event_id: str | None = None, **query: Any) -> "Stream":
        """Open the session's event stream. The caller closes it."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        return Stream(
            self.call("stream_session_events", session_id, query=query, headers=headers, stream=True).response
        )

    def run_agent(self, session_id: str, **body: Any) -> "Stream":
        """Start a run like an AG-UI client and open its stream. The caller closes it."""
        body = {"threadId": "t", "runId": str(uuid4()), "messages": []} | body
        return Stream(self.call("run_agent", session_id, body=body, stream=True).response)

    def running_session(self, task: str = "slow 0") -> str:
        """Create a session and return its id once its task's run has ended."""
        session_id: str = self.create_session(task=task).ok()["id"]
        self.wait_for_status(session_id, "running")
        [run] = self.list_runs(session_id).ok()["runs"]
        self.wait_for_run(session_id, run["run_id"])
        return session_id

    def wait_for_status(self, session_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the session is in one of these states, and return it."""
        return eventually(lambda: self.get_session(session_id).ok(), lambda session: session["status"] in statuses)

    def wait_for_run(self, session_id: str, run_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the run is in one of these states, by default a final one, and return it."""
        expected = statuses or ("waiting", "completed", "error", "interrupted")
        return eventually(lambda: self.get_run(session_id, run_id).ok(), lambda run: run["status"] in expected)

    def say(self, session_id: str, content: str) -> dict[str, Any]:
        """Send a message, wait for the end of its run, and return the run's summary."""
        return self.wait_for_run(session_id, self.send_message(session_id, content).ok()["run_id"])


def unique_project(stem: str = "project") -> str:
    """Return the name of a new project."""
    return f"{stem}-{uuid4().hex[:12]}"
