"""Helpers of the contract tests: an ASGI app called byte by byte, its lifespan, and a backend with canned responses."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Message

from app.models.agents import AgentList
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList, ApprovalStatus
from app.models.caller import Caller, Credentials, Identity, Role
from app.models.output import EventLog, LogPage, OutputFormat, Transcript
from app.models.runs import AcceptedRun, InterruptResult, MessageCreate, RunCreate, RunList, RunStatus, RunSummary
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.models.workspaces import (
    ArchiveFormat,
    FileType,
    Push,
    PushCreate,
    WorkspaceDiff,
    WorkspaceFile,
    WorkspaceFiles,
)
from app.port.agents import Agents
from app.port.backend import Backend
from app.port.output import Output
from app.port.runs import Runs
from app.port.sessions import Sessions
from app.port.workspaces import Workspaces
from app.results import EventStream, FileContent, FileWritten, Idempotent, StreamedBody, StreamEvent
from app.settings import Settings, load
from tests.support.store import SECRETS_KEY

TOKEN = "Bearer token-of-the-tests"
AUTH = {"Authorization": TOKEN, "X-Ambient-Project": "demo"}
ETAG = "0d3c2b1a4e6d5f1c0f4e9c5b4f0b8a3a"
RUN = "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"


def settings(directory: Path, **changes: str) -> Settings:
    """The defaults with data under `directory` and a rate limit that no test meets; `changes` are variables."""
    limits = {
        "RATE_LIMIT_RPS": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        "LOG_LEVEL": "error",
        "AUDIT_LOG": "off",
        "SECRETS_KEY": SECRETS_KEY,
    }
    return load({"DATA_DIR": str(directory), **limits, **changes})


class Sent(NamedTuple):
    """A request as an HTTP server hands it to the app; `chunked` leaves Content-Length out."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = tuple(AUTH.items())
    body: bytes = b""
    chunked: bool = False

    def scope(self) -> dict[str, Any]:
        """The ASGI scope: the path decoded and raw, names of headers in lower case."""
        raw_path, _, query = self.target.partition("?")
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        if self.body and not self.chunked:
            headers.append((b"content-length", b"%d" % len(self.body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(b"host", b"api.test"), *headers],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8081),
        }


class Response(NamedTuple):
    """A response; names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


async def call(app: ASGIApp, sent: Sent) -> Response:
    """Send one request to an ASGI app."""
    half = len(sent.body) // 2
    parts = [sent.body[:half], sent.body[half:]] if sent.chunked else [sent.body]
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    start: Message = {"status": 500, "headers": []}
    body = bytearray()

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
        else:
            body.extend(message.get("body", b""))

    await app(sent.scope(), receive, send)
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return Response(start["status"], headers, bytes(body))


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Run an app's start-up before the block and its shutdown after; raises what the start raises."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    served = asyncio.ensure_future(_serve(app, incoming, outgoing))
    await incoming.put({"type": "lifespan.startup"})
    await _reported(outgoing, served, "lifespan.startup.complete")
    yield
    await incoming.put({"type": "lifespan.shutdown"})
    await _reported(outgoing, served, "lifespan.shutdown.complete")
    await served


async def _serve(app: ASGIApp, incoming: asyncio.Queue[Message], outgoing: asyncio.Queue[Message]) -> None:
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, incoming.get, outgoing.put)


async def _reported(outgoing: asyncio.Queue[Message], served: asyncio.Future[None], expected: str) -> None:
    report = asyncio.ensure_future(outgoing.get())
    waiting: set[asyncio.Future[Any]] = {report, served}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if not report.done():
        report.cancel()
        served.result()  # raises what the start raised
    assert report.result()["type"] == expected, report.result()


class Calls(list[tuple[str, dict[str, Any]]]):
    """The calls of a backend, in order: the operation and its arguments."""

    def __call__(self, operation: str, **arguments: Any) -> None:
        """Add a call."""
        self.append((operation, arguments))


class CannedAgents(Agents):
    """No agents."""

    def __init__(self, calls: Calls) -> None:
        self._called = calls

    async def list_agents(self, caller: Caller) -> AgentList:
        self._called("list_agents", caller=caller)
        return AgentList(items=[])


class CannedSessions(Sessions):
    """Sessions that are always the same one."""

    session = Session(id="s1", status=SessionStatus.RUNNING)

    def __init__(self, calls: Calls) -> None:
        self._called = calls

    async def list_sessions(
        self,
        caller: Caller,
        *,
        limit: int,
        offset: int,
        search: str | None,
        status: Sequence[SessionStatus],
        activity: Sequence[Activity] = (),
        label: Sequence[str],
    ) -> SessionPage:
        query = {
            "limit": limit,
            "offset": offset,
            "search": search,
            "status": status,
            "activity": activity,
            "label": label,
        }
        self._called("list_sessions", caller=caller, **query)
        return SessionPage(items=[self.session], total=1, limit=limit, offset=offset, has_more=False)

    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        self._called("create_session", caller=caller, new=new)
        return Idempotent(CreatedSession(id="s1", status=SessionStatus.PENDING, message="Session created"))

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        self._called("get_session", caller=caller, session_id=session_id, wait=wait)
        return self.session

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        self._called("update_session", caller=caller, session_id=session_id, patch=patch)
        return self.session

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        self._called("delete_session", caller=caller, session_id=session_id)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        self._called("start_session", caller=caller, session_id=session_id)
        return self.session

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        self._called("stop_session", caller=caller, session_id=session_id)
        return self.session


class CannedRuns(Runs):
    """Runs that are always the same one."""

    run = RunSummary(run_id=RUN, status=RunStatus.COMPLETED, event_count=0)

    def __init__(self, calls: Calls) -> None:
        self._called = calls

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        self._called("interrupt_session", caller=caller, session_id=session_id)
        return InterruptResult(message="Interrupt signal sent", interrupted=False)

    async def send_message(self, caller: Caller, session_id: str, message: MessageCreate) -> Idempotent[AcceptedRun]:
        self._called("send_message", caller=caller, session_id=session_id, message=message)
        return Idempotent(AcceptedRun(run_id=RUN, thread_id=session_id))

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        self._called("create_run", caller=caller, session_id=session_id, run=run)
        return Idempotent(AcceptedRun(run_id=RUN, thread_id=session_id))

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        self._called("run_agent", caller=caller, session_id=session_id, run_input=run_input)
        return EventStream(_no_pages())

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        self._called("list_runs", caller=caller, session_id=session_id, status=status)
        return RunList(session_id=session_id, runs=[self.run])

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        self._called("get_run", caller=caller, session_id=session_id, run_id=run_id, wait=wait)
        return self.run

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        self._called("cancel_run", caller=caller, session_id=session_id, run_id=run_id)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        self._called("list_approvals", caller=caller, session_id=session_id)
        return ApprovalList(items=[])

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        self._called("answer_approval", caller=caller, session_id=session_id, approval_id=approval_id, answer=answer)
        return Approval(id="a1", run_id=RUN, status=ApprovalStatus.ALLOWED, created_at="2026-11-23T21:00:00Z")


class CannedOutput(Output):
    """Logs that are empty."""

    def __init__(self, calls: Calls) -> None:
        self._called = calls

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> Transcript | EventLog:
        self._called(
            "get_session_output", caller=caller, session_id=session_id, format=format, run_id=run_id, page=page
        )
        if format is OutputFormat.TRANSCRIPT:
            return Transcript(session_id=session_id, format=format, messages=[])
        return EventLog(session_id=session_id, format=format, events=[])

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        arguments = {"after": after, "run_id": run_id, "format": format}
        self._called("stream_session_events", caller=caller, session_id=session_id, **arguments)
        return EventStream(_no_pages())

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        self._called("get_session_logs", caller=caller, session_id=session_id, tail=tail)
        return "a line\n"


class CannedWorkspaces(Workspaces):
    """Workspaces with one file."""

    def __init__(self, calls: Calls) -> None:
        self._called = calls

    async def list_workspace_files(
        self, caller: Caller, session_id: str, *, path: bytes, depth: int | None, limit: int
    ) -> WorkspaceFiles:
        self._called("list_workspace_files", caller=caller, session_id=session_id, path=path, depth=depth, limit=limit)
        return WorkspaceFiles(items=[WorkspaceFile(path="README.md", type=FileType.FILE)], truncated=False)

    async def read_workspace_file(self, caller: Caller, session_id: str, *, path: bytes) -> FileContent:
        self._called("read_workspace_file", caller=caller, session_id=session_id, path=path)
        return FileContent(1024, ETAG, _zeros, "README.md")

    async def write_workspace_file(
        self, caller: Caller, session_id: str, *, path: bytes, content: AsyncIterable[bytes]
    ) -> FileWritten:
        read = b"".join([chunk async for chunk in content])
        self._called("write_workspace_file", caller=caller, session_id=session_id, path=path, content=read)
        return FileWritten(ETAG)

    async def get_workspace_archive(
        self, caller: Caller, session_id: str, *, path: bytes, format: ArchiveFormat
    ) -> StreamedBody:
        self._called("get_workspace_archive", caller=caller, session_id=session_id, path=path, format=format)
        return StreamedBody(_zeros(0, 0), "s1.zip")

    async def get_workspace_diff(self, caller: Caller, session_id: str, *, path: bytes, limit: int) -> WorkspaceDiff:
        self._called("get_workspace_diff", caller=caller, session_id=session_id, path=path, limit=limit)
        return WorkspaceDiff(files=[], file_count=0, additions=0, deletions=0, truncated=False)

    async def get_workspace_patch(
        self, caller: Caller, session_id: str, *, path: bytes, state: str | None
    ) -> StreamedBody:
        self._called("get_workspace_patch", caller=caller, session_id=session_id, path=path, state=state)
        return StreamedBody(_zeros(0, 0), "changes.patch")

    async def push_workspace(self, caller: Caller, session_id: str, wanted: PushCreate) -> Idempotent[Push]:
        self._called("push_workspace", caller=caller, session_id=session_id, wanted=wanted)
        return Idempotent(Push(commit="0" * 40, branch=wanted.branch))


class CannedBackend(Backend):
    """A backend that returns one fixed value for each operation, and records the calls."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.agents = CannedAgents(self.calls)
        self.sessions = CannedSessions(self.calls)
        self.runs = CannedRuns(self.calls)
        self.output = CannedOutput(self.calls)
        self.workspaces = CannedWorkspaces(self.calls)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ready(self) -> None: ...

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        return Caller(token=credentials.token, project=credentials.project or role)

    async def whoami(self, caller: Caller) -> Identity:
        self.calls("whoami", caller=caller)
        return Identity(project=caller.project, backend="canned", capabilities=["whoami"])


async def _zeros(start: int, end: int) -> AsyncGenerator[bytes, None]:
    yield bytes(end - start)


async def _no_pages() -> AsyncGenerator[list[StreamEvent], None]:
    yield []
