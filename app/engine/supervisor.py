"""What happens to a session behind the client's back: its workspace is made, it is halted, it is taken up again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from app.engine import workspace
from app.engine.engine import Engine
from app.engine.scheduling import IdleTimers, SessionSlots
from app.models.sessions import SessionStatus
from app.observability.metrics import Observe
from app.store import approvals, deletions, sessions
from app.store.commands.runs import abort_active_runs
from app.store.commands.sessions import finish_deletion, finish_provisioning, finish_stopping, stop_if_idle
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.sessions import SessionRow

CLOSE_SECONDS = 2.0
Work = Callable[[], Awaitable[None]]
log = logging.getLogger(__name__)


class Supervisor:
    """One step at a time for each session: a new one waits for the one before, and breaks off a preparation."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        protocols: Sequence[str],
        observe: Observe,
        *,
        idle_timeout: float | None,
        places: SessionSlots,
    ) -> None:
        self._database = database
        self._engine = engine
        self._protocols = protocols
        self._observe = observe
        self._slots = places
        self._idle_timers = IdleTimers(idle_timeout, self._stop_if_idle)
        engine.on_idle = self._idle_timers.start
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._provisioning: dict[int, asyncio.Task[None]] = {}

    def provision(self, session: SessionRow) -> None:
        """Make the workspace of a pending session, then let it run."""
        self._provisioning[session.row_id] = self._begin(session.row_id, partial(self._provision, session))

    def stop(self, session: SessionRow) -> None:
        """Bring a stopping session to its end."""
        self._engine.session_log(session).write("session", "stops")
        self._begin(session.row_id, partial(self._stop, session.row_id))

    async def purge(self, removal: Deletion) -> None:
        """Put away what is left of a deleted session: its agent and its workspace."""
        await self._begin(removal.row_id, partial(self._purge, removal))

    async def recover(self) -> None:
        """Take up a store where another server left it, however that ended."""
        await self._database.write_from_reserve(abort_active_runs)
        for removal in await self._database.read(deletions.pending):
            self._begin(removal.row_id, partial(self._purge, removal))
        for number in await self._database.read(sessions.row_ids, SessionStatus.RUNNING):
            self._slots.restore(number)
            self._idle_timers.start(number)
        for session in await self._database.read(sessions.with_status, SessionStatus.PENDING):
            self.provision(session)
        for session in await self._database.read(sessions.with_status, SessionStatus.STOPPING):
            self.stop(session)
        for session in await self._database.read(sessions.with_queued_runs):
            self._engine.wake(session)

    async def close(self) -> None:
        """Break off all steps; the next start carries them on."""
        self._idle_timers.close()
        steps = set(self._tasks.values())
        for step in steps:
            step.cancel()
        if steps:
            await asyncio.wait(steps, timeout=CLOSE_SECONDS)

    def _begin(self, number: int, step: Work) -> "asyncio.Task[None]":
        if preparing := self._provisioning.pop(number, None):
            preparing.cancel()
        task = asyncio.create_task(self._after(self._tasks.get(number), step))
        self._tasks[number] = task
        task.add_done_callback(partial(self._forget, number))
        return task

    def _forget(self, number: int, task: "asyncio.Task[None]") -> None:
        for tasks in (self._tasks, self._provisioning):
            if tasks.get(number) is task:
                del tasks[number]

    async def _after(self, previous: "asyncio.Task[None] | None", step: Work) -> None:
        if previous:
            await asyncio.wait({previous})
        try:
            await step()
        except Exception:
            log.exception("a step in the life of a session failed")

    async def _provision(self, session: SessionRow) -> None:
        logbook = self._engine.session_log(session)
        await self._slots.acquire(session.row_id, partial(logbook.write, "session"))
        began = time.perf_counter()
        error: str | None = None
        logbook.write("session", "the workspace is being made")
        try:
            await workspace.provision(
                self._engine.workspace(session),
                session.request,
                protocols=self._protocols,
                log=partial(logbook.write, "git"),
            )
        except workspace.WorkspaceError as reason:
            error = str(reason)
        except Exception:
            log.exception("a workspace could not be made")
            error = "The workspace could not be made."
        self._observe("workspace", time.perf_counter() - began, "error" if error else "ok")
        logbook.write("session", f"failed: {error}" if error else "the workspace is ready")
        if await self._database.write_until_stored(finish_provisioning, session.row_id, error):
            self._engine.wake(session)
        elif error:
            self._slots.release(session.row_id)

    async def _stop(self, number: int) -> None:
        try:
            await self._engine.stop(number)
            await self._database.write_until_stored(finish_stopping, number)
        finally:
            self._slots.release(number)

    async def _purge(self, removal: Deletion) -> None:
        try:
            await self._engine.stop(removal.row_id)
        finally:
            self._slots.release(removal.row_id)
        await workspace.delete(self._engine.workspace(removal))
        self._engine.delete_log(removal)
        await self._database.write(finish_deletion, removal.row_id)

    async def _stop_if_idle(self, number: int) -> None:
        if session := await self._database.write_until_stored(stop_if_idle, number):
            self.stop(session)
        elif await self._database.read(approvals.open_ids, [number]):
            self._idle_timers.start(number)  # a question may lapse without any news
