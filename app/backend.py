"""The port: everything that the API needs of a backend that runs sessions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Any

from app.errors import NotSupported
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller, Credentials, Identity, Role
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
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.results import EventStream, Idempotent, StreamedBody


class Backend(ABC):
    """A place where sessions run.

    Names, ids and bodies have passed the validation of the document before a method is called. An implementation must:

    * raise only errors of `app.errors`: those that a docstring names, and in any method `BackendError`,
      `BackendUnavailable`, `BackendTimeout`, `StorageUnavailable` and `StorageFull`;
    * raise `SessionNotFound` for a session id that is not one of the caller's project;
    * have stored a change durably when its method returns;
    * store the result for a caller's idempotency key (`Idempotent`) and return it again for the same request; a
      different one raises `IdempotencyKeyReused`, and `IdempotencyOutcomeUnknown` if the first one was not finished.
    """

    # The server's start and end

    @abstractmethod
    async def open(self) -> None:
        """Connect, migrate and recover. Called once, before the first request."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is in progress and release everything. Called once, after the last request."""

    @abstractmethod
    async def ready(self) -> None:
        """Return if sessions can be served, else raise. (GET /ready)"""

    # Callers

    @abstractmethod
    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """Return the caller with their project, if they have at least this role as far as the backend knows.

        Raises `MissingProject`, `Unauthorized`, `Forbidden`.
        """

    @abstractmethod
    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller as far as the backend knows them, and what it can do. (GET /v1/whoami)"""

    # Sessions

    @abstractmethod
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
        """Return a page of the project's sessions, newest first. (GET /v1/sessions)

        An empty `status` or `activity` admits any; only running sessions have an activity.
        Each `label` is written `key=value`, and all must match.
        """

    @abstractmethod
    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """Create a session, whose task becomes its first run, and return it pending or further. (POST /v1/sessions)

        The response has the `run_id` of that run if the backend knows it.

        Raises `BadRequest` for a reserved label and for a parent outside of the project, `NotSupported`.
        """

    @abstractmethod
    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """Return a session. (GET /v1/sessions/{session_id})

        With `wait` it is returned once it is neither pending nor working, or after that many seconds. It is never idle
        while an accepted run has not ended.
        """

    @abstractmethod
    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """Change a session and return it. (PATCH /v1/sessions/{session_id})

        Raises `BadRequest`, `SessionRunning`, `TooManyLabels`, `NotSupported`.
        """

    @abstractmethod
    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete a session, whatever its status. (DELETE /v1/sessions/{session_id})"""

    @abstractmethod
    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Start a session that has ended, and return it. (POST /v1/sessions/{session_id}/start)

        Raises `AlreadyRunning`, `SessionStopping`, `UnknownState`.
        """

    @abstractmethod
    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stop a session and its runs, and return it stopping or further. (POST /v1/sessions/{session_id}/stop)

        Raises `AlreadyEnded`, `UnknownState`.
        """

    @abstractmethod
    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Cancel the current run; the session keeps running. (POST /v1/sessions/{session_id}/interrupt)"""

    # Runs

    async def send_message(self, caller: Caller, session_id: str, message: MessageCreate) -> Idempotent[AcceptedRun]:
        """Start a run with one message of the user. (POST /v1/sessions/{session_id}/message)

        Raises `NotRunning`, `SessionBusy`.
        """
        user_message = RunMessage(role="user", content=message.content)
        run = RunCreate(messages=[user_message], on_busy=message.on_busy)
        return await self.create_run(caller, session_id, run)

    @abstractmethod
    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """Accept a run, which from then on reaches a terminal state. (POST /v1/sessions/{session_id}/runs)

        Raises `NotRunning`, `RunExists`, `SessionBusy`, `NotSupported`.
        """

    @abstractmethod
    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """Accept a run of an AG-UI client and stream its events. (POST /v1/sessions/{session_id}/agui)

        `run_input` is a RunAgentInput. Its threadId is only echoed, since the run belongs to the session's own thread.
        The run continues when the client disconnects. Raises `NotRunning`, `RunExists`, `NotSupported`.
        """

    @abstractmethod
    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """Return the runs of a session in the order of their start. (GET /v1/sessions/{session_id}/runs)"""

    @abstractmethod
    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """Return a run, once it has ended or after `wait` seconds. (GET /v1/sessions/{session_id}/runs/{run_id})

        Raises `RunNotFound`.
        """

    @abstractmethod
    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """Remove a queued run from the queue. (DELETE /v1/sessions/{session_id}/runs/{run_id})

        Raises `RunNotFound`, `RunActive`, `RunEnded`, and `NotSupported` if the queue is out of reach.
        """

    # The log

    @abstractmethod
    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> Transcript | EventLog | StreamedBody:
        """Return the log of a session, or of one of its runs. (GET /v1/sessions/{session_id}/output)

        Without a page it is the whole log; a transcript has no pages. `run_id` is a UUID in any spelling. Raises
        `RunNotFound`, and `CursorExpired` for a page after a cursor that the log does not have.
        """

    @abstractmethod
    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Stream the events after a cursor, and then those to come. (GET /v1/sessions/{session_id}/events)

        Without a cursor it begins with the log. With `run_id`, a UUID in any spelling, it ends after that run. The
        format is not `transcript`. Raises `CursorExpired`, `RunNotFound`.
        """

    @abstractmethod
    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """Return the last `tail` lines, at most, of a session's text log. (GET /v1/sessions/{session_id}/logs)

        Raises `NotSupported` if there is none.
        """

    # Optional methods

    async def version(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
    ) -> str | None:
        """Return a text that changes whenever the session's log or runs do; None if that takes reading them."""
        return None

    async def list_approvals(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
    ) -> ApprovalList:
        """Return the pending approvals of a session. (GET /v1/sessions/{session_id}/approvals)

        Raises `NotSupported`.
        """
        raise NotSupported

    async def answer_approval(
        self,
        caller: Caller,  # noqa: ARG002 - unused in the default
        session_id: str,  # noqa: ARG002
        approval_id: str,  # noqa: ARG002
        answer: ApprovalAnswer,  # noqa: ARG002
    ) -> Approval:
        """Allow or deny an approval, and return it. (POST /v1/sessions/{session_id}/approvals/{approval_id})

        Raises `ApprovalNotFound`, `ApprovalClosed`, `NotSupported`, and `NotRunning` if the decision takes a run.
        """
        raise NotSupported


OPERATIONS = frozenset(
    name
    for name, member in vars(Backend).items()
    if iscoroutinefunction(member) and name not in {"open", "close", "ready", "authorize", "version"}
)
"""The names of the port's operations, which are those of the document."""

FEATURES = frozenset({"approval_policy", "remove_labels", "resume", "timeout_seconds"})
"""Parts of operations that a backend may lack."""
