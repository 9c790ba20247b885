"""The embedded backend: the port over the store and the engine of this process."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from app.backend import FEATURES, OPERATIONS, Backend
from app.backends.embedded.output import EmbeddedOutput
from app.backends.embedded.runs import EmbeddedRuns
from app.backends.embedded.sessions import EmbeddedSessions
from app.engine.config import EngineConfig
from app.engine.engine import Engine
from app.engine.session_log import SessionLogs
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller, Credentials, Identity, KeyIdentity, Role
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
from app.results import EventStream, Idempotent, StreamedBody
from app.store import keys, sessions
from app.store.sqlite.database import SqliteDatabase
from app.store.sqlite.lock import StoreLock

FINISH_SECONDS = 1.0
T = TypeVar("T")


def _ignore(_operation: str, _seconds: float, _outcome: str) -> None:
    """Observe nothing."""


class EmbeddedBackend(Backend):
    """Sessions in a SQLite file, their workspaces in a directory, their agents on this machine.

    The operations are those of three parts: sessions, runs and output. An operation that changes the store and then
    signals the engine is finished even if its request is cancelled in between.
    """

    def __init__(self, database: Path, config: EngineConfig, observe: Observe = _ignore) -> None:
        self._path = database
        self._config = config
        self._observe = observe
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Open and migrate the store, then resume what an earlier server has left.

        `StorageUnavailable` if another server uses it.
        """
        self._lock = StoreLock(self._path)
        try:
            self._database = SqliteDatabase(self._path, self._observe)
            self._engine = Engine(self._database, self._config, self._observe)
            self._sessions = EmbeddedSessions(self._database, self._engine, self._config.git_protocols)
            self._output = EmbeddedOutput(self._database, SessionLogs(self._config.logs))
            self._runs = EmbeddedRuns(self._database, self._engine, self._output)
            await self._engine.start()
        except BaseException:
            self._lock.release()
            raise

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted`, leave queued ones queued, close the store."""
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=FINISH_SECONDS)
        await self._engine.close()
        await self._database.close()
        self._lock.release()

    async def ready(self) -> None:
        """Return if the store can be read."""
        await self._database.read(sessions.count, SessionStatus.PENDING)

    async def running_sessions(self) -> int:
        """Return how many sessions of all projects are running."""
        return await self._database.read(sessions.count, SessionStatus.RUNNING)

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """See `keys.verify`."""
        return await self._database.read_one(keys.verify, credentials, role)

    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller's key; all operations and features are there."""
        key = await self._database.read(keys.identity, caller.token)
        return Identity(
            project=key.project,
            role=key.role,
            key=KeyIdentity(id=key.id, name=key.name or None, expires_at=key.expires_at),
            backend="embedded",
            capabilities=sorted(OPERATIONS | FEATURES),
        )

    async def _finish(self, operation: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(operation)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

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
        """See `EmbeddedSessions`."""
        return await self._sessions.list_sessions(
            caller, limit=limit, offset=offset, search=search, status=status, activity=activity, label=label
        )

    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """See `EmbeddedSessions`."""
        return await self._finish(self._sessions.create_session(caller, new))

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """See `EmbeddedSessions`."""
        return await self._sessions.get_session(caller, session_id, wait=wait)

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """See `EmbeddedSessions`."""
        return await self._sessions.update_session(caller, session_id, patch)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """See `EmbeddedSessions`."""
        await self._finish(self._sessions.delete_session(caller, session_id))

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """See `EmbeddedSessions`."""
        return await self._finish(self._sessions.start_session(caller, session_id))

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """See `EmbeddedSessions`."""
        return await self._finish(self._sessions.stop_session(caller, session_id))

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """See `EmbeddedSessions`."""
        return await self._sessions.interrupt_session(caller, session_id)

    # Runs and approvals

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """See `EmbeddedRuns`."""
        return await self._finish(self._runs.create_run(caller, session_id, run))

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """See `EmbeddedRuns`."""
        return await self._finish(self._runs.run_agent(caller, session_id, run_input))

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """See `EmbeddedRuns`."""
        return await self._runs.list_runs(caller, session_id, status)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """See `EmbeddedRuns`."""
        return await self._runs.get_run(caller, session_id, run_id, wait)

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """See `EmbeddedRuns`."""
        await self._runs.cancel_run(caller, session_id, run_id)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """See `EmbeddedRuns`."""
        return await self._runs.list_approvals(caller, session_id)

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """See `EmbeddedRuns`."""
        return await self._finish(self._runs.answer_approval(caller, session_id, approval_id, answer))

    # Output

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedBody:
        """See `EmbeddedOutput`."""
        return await self._output.get_session_output(caller, session_id, format, run_id, page)

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """See `EmbeddedOutput`."""
        return await self._output.stream_session_events(caller, session_id, after=after, run_id=run_id, format=format)

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """See `EmbeddedOutput`."""
        return await self._output.get_session_logs(caller, session_id, tail)

    async def version(self, caller: Caller, session_id: str) -> str:
        """See `EmbeddedOutput`."""
        return await self._output.version(caller, session_id)
