"""The platform backend: the port over the HTTP API of an Ambient Code Platform."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.backend import FEATURES, OPERATIONS, Backend
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.live_log import LiveLogs
from app.backends.ambient.log_cache import LogCache
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.output import AmbientOutput
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.runs import AmbientRuns
from app.backends.ambient.sessions import AmbientSessions
from app.errors import MissingProject
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller, Credentials, Identity, Role
from app.models.output import EventLog, LogPage, OutputFormat
from app.models.runs import AcceptedRun, InterruptResult, RunCreate, RunList, RunStatus, RunSummary
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.observability.metrics import Observe
from app.observability.tracing import Tracing
from app.results import EventStream, Idempotent, StreamedBody

NOT_SUPPORTED = frozenset(
    {"answer_approval", "approval_policy", "cancel_run", "list_approvals", "remove_labels", "resume"}
)
"""Operations and features that the platform lacks."""


class AmbientBackend(Backend):
    """Sessions of the platform at `url`, which authenticates tokens and decides what they may do.

    The operations are those of three parts: sessions, runs and output. Times are in seconds: `timeout` bounds each wait
    for the platform, `interrupt_timeout` the wait for the end of an interrupted run. A log that somebody waits for is
    read every `poll_interval`. Responses by idempotency key are stored in `idempotency_file`.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        observe: Observe | None = None,
        *,
        idempotency_file: Path,
        tracing: Tracing | None = None,
        log_cache_bytes: int = 80 << 20,
        interrupt_timeout: float = 10.0,
        poll_interval: float = 1.0,
    ) -> None:
        self._platform = PlatformApi(url, timeout, observe, tracing)
        self._idempotency = IdempotencyStore(idempotency_file)
        pending = PendingRuns()
        logs = LogReader(self._platform, LogCache(log_cache_bytes))
        live = LiveLogs(self._platform, logs, poll_interval)
        self._runs = AmbientRuns(
            self._platform,
            self._idempotency,
            pending,
            logs,
            live,
            interrupt_timeout=interrupt_timeout,
            poll_interval=poll_interval,
        )
        self._sessions = AmbientSessions(
            self._platform, self._idempotency, pending, self._runs, poll_interval=poll_interval
        )
        self._output = AmbientOutput(self._platform, pending, logs, live, self._runs)

    async def open(self) -> None:
        """Return at once: connections are made when they are needed, and the platform need not be up yet."""

    async def close(self) -> None:
        """Close all connections and the file."""
        await self._platform.close()
        await self._idempotency.close()

    async def ready(self) -> None:
        """Return if the platform is healthy."""
        await self._platform.health()

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:  # noqa: ARG002 - the platform judges it
        """Return the caller in the project; the platform judges the token at each call. `MissingProject`."""
        if credentials.project is None:
            raise MissingProject
        return Caller(token=credentials.token, project=credentials.project)

    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller's project once the platform has accepted the token for it."""
        await self._platform.list_sessions(caller, 1, 0, None)
        capabilities = (OPERATIONS | FEATURES) - NOT_SUPPORTED
        return Identity(project=caller.project, backend="ambient", capabilities=sorted(capabilities))

    # Sessions

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
        """See `AmbientSessions`."""
        return await self._sessions.list_sessions(
            caller, limit=limit, offset=offset, search=search, status=status, activity=activity, label=label
        )

    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """See `AmbientSessions`."""
        return await self._sessions.create_session(caller, new)

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """See `AmbientSessions`."""
        return await self._sessions.get_session(caller, session_id, wait=wait)

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """See `AmbientSessions`."""
        return await self._sessions.update_session(caller, session_id, patch)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """See `AmbientSessions`."""
        await self._sessions.delete_session(caller, session_id)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """See `AmbientSessions`."""
        return await self._sessions.start_session(caller, session_id)

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """See `AmbientSessions`."""
        return await self._sessions.stop_session(caller, session_id)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """Raise `NotSupported` once the session is found: the platform has no approvals."""
        await self._platform.get_session(caller, session_id)
        return await super().list_approvals(caller, session_id)

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Raise `NotSupported` once the session is found: the platform has no approvals."""
        await self._platform.get_session(caller, session_id)
        return await super().answer_approval(caller, session_id, approval_id, answer)

    # Runs

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """See `AmbientRuns`."""
        return await self._runs.interrupt_session(caller, session_id)

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """See `AmbientRuns`."""
        return await self._runs.create_run(caller, session_id, run)

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """See `AmbientRuns`."""
        return await self._runs.list_runs(caller, session_id, status)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """See `AmbientRuns`."""
        return await self._runs.get_run(caller, session_id, run_id, wait)

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """See `AmbientRuns`."""
        await self._runs.cancel_run(caller, session_id, run_id)

    # Output

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """See `AmbientOutput`."""
        return await self._output.run_agent(caller, session_id, run_input)

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedBody:
        """See `AmbientOutput`."""
        return await self._output.get_session_output(caller, session_id, format, run_id, page)

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """See `AmbientOutput`."""
        return await self._output.stream_session_events(caller, session_id, after=after, run_id=run_id, format=format)

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """See `AmbientOutput`."""
        return await self._output.get_session_logs(caller, session_id, tail)
