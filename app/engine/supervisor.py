"""Background work on sessions: provisioning, stopping, purging, and resuming all of it at a start.

There is one task at a time for each session. A new task waits until the previous one has ended, so that a start after
a stop does not meet the old agent, and it cancels provisioning that has not finished. The work of a task is recorded
in the store before the task begins: as the status `pending` or `stopping`, or as a deletion. So the work of a task that
was cancelled by a shutdown, or died with the process, is resumed by `recover`.

    create, start ──▶ pending ──── _provision: get a slot, make the workspace ─────▶ running or failed
    stop, idle    ──▶ stopping ─── _stop: end the run and the agent, free the slot ▶ stopped
    delete        ──▶ deleted ──── _purge: the same, then remove the workspace; _purge_log: the logs
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog

from app.engine import attached_files, workspace
from app.engine.config import EngineConfig
from app.engine.disk_quota import DiskQuota
from app.engine.idle import IdleSessions
from app.engine.push import record_origins
from app.engine.runner import RunnerPool
from app.engine.scheduling import SessionSlots
from app.engine.session_log import SessionLog, SessionLogs
from app.engine.session_secrets import SecretsError
from app.errors import ApiError, WorkspaceQuotaExceeded
from app.models.sessions import SessionStatus
from app.observability.metrics import Observe
from app.store import approvals, deletions, initial_files, sessions
from app.store.commands.runs import abort_active_runs
from app.store.commands.sessions import finish_provisioning, finish_stopping, purge_log
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.leases import LeaseLost, SessionGone
from app.store.sessions import SessionRow
from app.workspaces import local

CLOSE_SECONDS = 2.0
T = TypeVar("T")
log = structlog.get_logger()


class Supervisor:
    """Carries sessions from one state to the next, in the background."""

    def __init__(
        self,
        database: Database,
        runners: RunnerPool,
        config: EngineConfig,
        observe: Observe,
        idle_sessions: IdleSessions | None,
        *,
        session_logs: SessionLogs,
        disk: DiskQuota,
    ) -> None:
        self._database = database
        self._runners = runners
        self._config = config
        self._observe = observe
        self._idle_sessions = idle_sessions
        self._slots = SessionSlots(config.max_running)
        self._logs = session_logs
        self._disk = disk
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._provisioning: dict[int, asyncio.Task[None]] = {}

    def provision(self, session: SessionRow) -> None:
        """Make the workspace of a pending session, then let the session run."""
        self._provisioning[session.row_id] = self._begin(session.row_id, self._provision, session)

    def stop(self, session: SessionRow) -> None:
        """Stop the agent of a stopping session, then let the session be stopped."""
        self._logs.of(session).write("session", "stops")
        self._begin(session.row_id, self._stop, session.row_id)

    async def purge(self, deletion: Deletion) -> None:
        """Stop the agent of a deleted session and remove its workspace; its logs go later."""
        await self._begin(deletion.row_id, self._purge, deletion)

    async def recover(self) -> None:
        """Resume the work that the store holds, however the server before this one has ended."""
        await self._database.write_from_reserve(abort_active_runs)
        for deletion in await self._database.read(deletions.pending):
            self._begin(deletion.row_id, self._purge, deletion)
        for row_id in await self._database.read(sessions.row_ids, SessionStatus.RUNNING):
            self._slots.restore(row_id)
        for session in await self._database.read(sessions.with_status, SessionStatus.PENDING):
            self.provision(session)
        for session in await self._database.read(sessions.with_status, SessionStatus.STOPPING):
            self.stop(session)
        for session in await self._database.read(sessions.with_queued_runs):
            self._runners.wake(session.row_id)
        for row_id in await self._database.read(approvals.sessions_with_expiry):
            self._runners.watch_expirations(row_id)
        if self._idle_sessions:
            await self._idle_sessions.start(self.stop)

    async def close(self) -> None:
        """Cancel all tasks; the next start resumes them."""
        if self._idle_sessions:
            self._idle_sessions.close()
        tasks = set(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    def is_busy(self, session: int) -> bool:
        """Return whether a task is at work on a session."""
        return session in self._tasks

    async def settled(self, session: int) -> None:
        """Wait until no task is at work on a session."""
        while task := self._tasks.get(session):
            await asyncio.wait({task})

    async def release(self, session: int) -> None:
        """Cancel the task of a session, close its agent, and free its slot."""
        if task := self._tasks.get(session):
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        await self._runners.release(session)
        self._slots.release(session)

    def _begin(self, session: int, work: Callable[[T], Awaitable[None]], argument: T) -> "asyncio.Task[None]":
        if provisioning := self._provisioning.pop(session, None):
            provisioning.cancel()
        task = asyncio.create_task(self._after(self._tasks.get(session), work, argument))
        self._tasks[session] = task
        task.add_done_callback(partial(self._forget, session))
        return task

    def _forget(self, session: int, task: "asyncio.Task[None]") -> None:
        for tasks in (self._tasks, self._provisioning):
            if tasks.get(session) is task:
                del tasks[session]

    async def _after(
        self, previous: "asyncio.Task[None] | None", work: Callable[[T], Awaitable[None]], argument: T
    ) -> None:
        if previous:
            await asyncio.wait({previous})
        try:
            await work(argument)
        except SessionGone:
            pass
        except LeaseLost:
            log.warning("lease_lost", task=work.__name__.strip("_"))
        except Exception:
            log.exception("session_task_failed", task=work.__name__.strip("_"))

    async def _provision(self, session: SessionRow) -> None:
        session_log = self._logs.of(session)
        if not self._slots.try_acquire(session.row_id):
            session_log.write("session", f"waits for a slot, MAX_RUNNING_SESSIONS is {self._config.max_running}")
            await self._slots.acquire(session.row_id)
            session_log.write("session", "has a slot")
        began = time.perf_counter()
        session_log.write("session", "the workspace is being made")
        error = await self._make_workspace(session, session_log)
        self._observe("workspace", time.perf_counter() - began, "error" if error else "ok")
        session_log.write("session", f"failed: {error}" if error else "the workspace is ready")
        if await self._database.write_until_stored(finish_provisioning, session.row_id, error):
            self._runners.wake(session.row_id)
        elif error:
            self._slots.release(session.row_id)

    async def _make_workspace(self, session: SessionRow, session_log: SessionLog) -> str | None:
        """Make the session's workspace; return why that failed, in words that a client may read."""
        try:
            if chosen := session.request.workspace:
                target, data = self._config.workspace(session), self._config.workspace_data(session)
                await local.provision(chosen, session.id, target, data, self._config.local(session))
            else:
                await workspace.provision(
                    self._config.workspace(session),
                    self._config.secrets.whole(session),
                    access=self._config.git,
                    log=lambda text: session_log.write("git", text),
                )
            await self._save_initial_files(session)
            await self._disk.require(await self._disk.measure(session))
            await self._begin_workspace(session, session_log)
        except (workspace.WorkspaceError, local.LocalDirectoryError, SecretsError, WorkspaceQuotaExceeded) as error:
            return str(error)
        except Exception:
            log.exception("workspace_failed", session_id=session.id)
            return "The workspace could not be made."
        return None

    async def _save_initial_files(self, session: SessionRow) -> None:
        if files := await self._database.read(initial_files.of_session, session.row_id):
            try:
                await attached_files.save(self._config.opened(session), files)
            except ApiError as error:
                raise workspace.WorkspaceError(f"The attachments could not be saved: {error.message}") from error

    async def _begin_workspace(self, session: SessionRow, session_log: SessionLog) -> None:
        """Remember how the workspace begins. The session runs without that too, but has no changes to show."""
        try:
            root, data = self._config.workspace(session), self._config.workspace_data(session)
            await record_origins(session.request, root, data, self._config.local(session))
            await self._config.opened(session).begin()
        except Exception as error:
            log.warning("baseline_failed", session_id=session.id, exc_info=not isinstance(error, ApiError))
            session_log.write("session", "the beginning of the workspace could not be recorded: it shows no changes")

    async def _stop(self, session: int) -> None:
        try:
            await self._runners.stop(session)
            await self._database.write_until_stored(finish_stopping, session)
        finally:
            self._slots.release(session)

    async def _purge(self, deletion: Deletion) -> None:
        try:
            await self._runners.stop(deletion.row_id)
        finally:
            self._slots.release(deletion.row_id)
        await local.remove(self._config.workspace_data(deletion), self._config.local(deletion))
        await workspace.delete(self._config.workspace(deletion))
        await workspace.delete(self._config.home(deletion))
        await workspace.delete(self._config.workspace_data(deletion))
        self._begin(deletion.row_id, self._purge_log, deletion.row_id)

    async def _purge_log(self, session: int) -> None:
        """Remove the logs of a deleted session slice by slice, half of the time, so that other work goes on."""
        has_more = True
        while has_more:
            began = time.perf_counter()
            has_more = await self._database.write_from_reserve(purge_log, session)
            await asyncio.sleep(time.perf_counter() - began)
