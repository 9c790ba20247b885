"""The port: what the API needs of whatever runs the sessions.

Every method raises only errors of `app.errors`. Names, ids and bodies have passed the document's validation before a
method is called. A session that does not exist in the caller's project raises `SessionNotFound`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from app.errors import NotSupported
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller, Credentials, Role
from app.models.output import EventLog, LogPage, OutputFormat, Transcript
from app.models.runs import (
    AcceptedRun,
    InterruptResult,
    MessageCreate,
    RunCreate,
    RunList,
    RunMessage,
    RunStatus,
    RunSummary,
)
from app.models.sessions import CreatedSession, Session, SessionCreate, SessionPage, SessionStatus, SessionUpdate
from app.results import EventStream, Idempotent, StreamedBody


class Backend(ABC):
    """One kind of place where sessions live."""

    @abstractmethod
    async def open(self) -> None:
        """Take up work: connections, migrations, recovery. Called once, before the first request."""

    @abstractmethod
    async def close(self) -> None:
        """Put everything in order and let go; called once, after the last request."""

    @abstractmethod
    async def ready(self) -> None:
        """GET /ready: return if sessions can be served, else raise."""

    @abstractmethod
    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """Settle project and role of a request; `MissingProject`, `Unauthorized`, `Forbidden`."""

    @abstractmethod
    async def list_sessions(
        self,
        caller: Caller,
        *,
        limit: int,
        offset: int,
        search: str | None,
        status: Sequence[SessionStatus],
        label: Sequence[str],
    ) -> SessionPage:
        """GET /v1/sessions: newest first; an empty `status` means any, each `label` is `key=value` and must match."""

    @abstractmethod
    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """POST /v1/sessions: the session exists when this returns, pending or further.

        `BadRequest` for a reserved label, and for a parent that is no session of the project.
        """

    @abstractmethod
    async def get_session(self, caller: Caller, session_id: str) -> Session:
        """GET /v1/sessions/{session_id}."""

    @abstractmethod
    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """PATCH /v1/sessions/{session_id}; `BadRequest`, `SessionRunning`, `TooManyLabels`, `NotSupported`."""

    @abstractmethod
    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """DELETE /v1/sessions/{session_id}: in every state."""

    @abstractmethod
    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """POST /v1/sessions/{session_id}/start; `AlreadyRunning`, `SessionStopping`, `UnknownState`."""

    @abstractmethod
    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """POST /v1/sessions/{session_id}/stop; `AlreadyEnded`, `UnknownState`."""

    @abstractmethod
    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """POST /v1/sessions/{session_id}/interrupt: cancel the current run, keep the session."""

    async def send_message(self, caller: Caller, session_id: str, message: MessageCreate) -> Idempotent[AcceptedRun]:
        """POST /v1/sessions/{session_id}/message: a run with one user message; `NotRunning`, `SessionBusy`."""
        said = RunMessage(role="user", content=message.content)
        return await self.create_run(caller, session_id, RunCreate(messages=[said], on_busy=message.on_busy))

    @abstractmethod
    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """POST /v1/sessions/{session_id}/runs; `NotRunning`, `RunExists`, `SessionBusy`."""

    @abstractmethod
    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """GET /v1/sessions/{session_id}/runs."""

    @abstractmethod
    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """GET /v1/sessions/{session_id}/runs/{run_id}: once it has ended, or after `wait` seconds; `RunNotFound`."""

    @abstractmethod
    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """DELETE /v1/sessions/{session_id}/runs/{run_id}: take a run out of the queue.

        `RunNotFound`, `RunActive`, `RunEnded`; `NotSupported` where the queue cannot be reached.
        """

    @abstractmethod
    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """GET /v1/sessions/{session_id}/logs: at most the last `tail` lines; `NotSupported` where there are none."""

    @abstractmethod
    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> Transcript | EventLog | StreamedBody:
        """GET /v1/sessions/{session_id}/output; `RunNotFound` if `run_id` (a uuid) is given and unknown.

        Without a page the whole log, which is the only way to a transcript; `CursorAhead` if the page begins behind
        the end of the session's log.
        """

    @abstractmethod
    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: int, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """GET /v1/sessions/{session_id}/events: what is behind the position `after`, then what comes.

        `CursorAhead`, `RunNotFound`. With `run_id` (a uuid) it ends after that run's end. Never a transcript.
        """

    @abstractmethod
    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """POST /v1/sessions/{session_id}/agui: a run and its events, for AG-UI clients; `NotRunning`, `RunExists`.

        `run_input` is a RunAgentInput. Its threadId is only echoed: the run is one of the session's own thread. The run
        goes on when the reader leaves.
        """

    # What a backend need not be able to do.

    async def version(
        self,
        caller: Caller,  # noqa: ARG002 - not known for anybody
        session_id: str,  # noqa: ARG002
    ) -> str | None:
        """What changes whenever the session's log or runs read differently; None if that takes reading them."""
        return None

    async def list_approvals(
        self,
        caller: Caller,  # noqa: ARG002 - refused whoever asks
        session_id: str,  # noqa: ARG002
    ) -> ApprovalList:
        """GET /v1/sessions/{session_id}/approvals: those that wait for an answer; `NotSupported`."""
        raise NotSupported

    async def answer_approval(
        self,
        caller: Caller,  # noqa: ARG002 - refused whoever asks
        session_id: str,  # noqa: ARG002
        approval_id: str,  # noqa: ARG002
        answer: ApprovalAnswer,  # noqa: ARG002
    ) -> Approval:
        """POST /v1/sessions/{session_id}/approvals/{approval_id}.

        `ApprovalNotFound`, `ApprovalClosed`, `NotRunning` where the answer needs a run; `NotSupported`.
        """
        raise NotSupported
