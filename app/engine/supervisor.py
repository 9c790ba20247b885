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
from app.observability.observe import Observe
from app.store import approvals, deletions, sessions
from app.store.commands.runs import abort_active_runs
from app.store.commands.sessions import finish_provisioning, finish_stopping, stop_if_idle
from app.store.deletions import Deletion
from app.store.sessions import SessionRow
from app.store.sqlite.database import Database

CLOSE_SECONDS = 2.0
Step = Callable[[], Awaitable[None]]
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
        self._places = places
        self._idleness = IdleTimers(idle_timeout, self._stop_if_idle)
        engine.rested = self._idleness.begin
        self._steps: dict[int, asyncio.Task[None]] = {}
        self._preparing: dict[int, asyncio.Task[None]] = {}

    def prepare(self, session: SessionRow) -> None:
        """Make the workspace of a pending session, then let it run."""
        self._preparing[session.number] = self._begin(session.number, partial(self._prepare, session))

    def halt(self, session: SessionRow) -> None:
        """Bring a stopping session to its end."""
        self._engine.logbook(session).write("session", "stops")
        self._begin(session.number, partial(self._halt, session.number))

    async def bury(self, removal: Deletion) -> None:
        """Put away what is left of a deleted session: its agent and its workspace."""
        await self._begin(removal.number, partial(self._bury, removal))

    async def recover(self) -> None:
        """Take up a store where another server left it, however that ended."""
        await self._database.make_room(abort_active_runs)
        for removal in self._database.read(deletions.pending):
            self._begin(removal.number, partial(self._bury, removal))
        for number in self._database.read(partial(sessions.numbers, status=SessionStatus.RUNNING)):
            self._places.keep(number)
            self._idleness.begin(number)
        for session in self._database.read(partial(sessions.in_state, status=SessionStatus.PENDING)):
            self.prepare(session)
        for session in self._database.read(partial(sessions.in_state, status=SessionStatus.STOPPING)):
            self.halt(session)
        for session in self._database.read(sessions.with_queue):
            self._engine.wake(session)

    async def close(self) -> None:
        """Break off all steps; the next start carries them on."""
        self._idleness.close()
        steps = set(self._steps.values())
        for step in steps:
            step.cancel()
        if steps:
            await asyncio.wait(steps, timeout=CLOSE_SECONDS)

    def _begin(self, number: int, step: Step) -> "asyncio.Task[None]":
        if preparing := self._preparing.pop(number, None):
            preparing.cancel()
        task = asyncio.create_task(self._after(self._steps.get(number), step))
        self._steps[number] = task
        task.add_done_callback(partial(self._forget, number))
        return task

    def _forget(self, number: int, task: "asyncio.Task[None]") -> None:
        for tasks in (self._steps, self._preparing):
            if tasks.get(number) is task:
                del tasks[number]

    async def _after(self, previous: "asyncio.Task[None] | None", step: Step) -> None:
        if previous:
            await asyncio.wait({previous})
        try:
            await step()
        except Exception:
            log.exception("a step in the life of a session failed")

    async def _prepare(self, session: SessionRow) -> None:
        logbook = self._engine.logbook(session)
        await self._places.take(session.number, partial(logbook.write, "session"))
        began = time.perf_counter()
        error: str | None = None
        logbook.write("session", "the workspace is being made")
        try:
            await workspace.provision(
                self._engine.workspace(session),
                session.request,
                protocols=self._protocols,
                tell=partial(logbook.write, "git"),
            )
        except workspace.WorkspaceError as reason:
            error = str(reason)
        except Exception:
            log.exception("a workspace could not be made")
            error = "The workspace could not be made."
        self._observe("workspace", time.perf_counter() - began, "error" if error else "ok")
        logbook.write("session", f"failed: {error}" if error else "the workspace is ready")
        if await self._database.write_at_last(partial(finish_provisioning, number=session.number, error=error)):
            self._engine.wake(session)
        elif error:
            self._places.leave(session.number)

    async def _halt(self, number: int) -> None:
        try:
            await self._engine.halt(number)
            await self._database.write_at_last(partial(finish_stopping, number=number))
        finally:
            self._places.leave(number)

    async def _bury(self, removal: Deletion) -> None:
        try:
            await self._engine.halt(removal.number)
        finally:
            self._places.leave(removal.number)
        await workspace.delete(self._engine.workspace(removal))
        self._engine.forget_log(removal)
        await self._database.write(partial(deletions.done, number=removal.number))

    async def _stop_if_idle(self, number: int) -> None:
        if session := await self._database.write_at_last(partial(stop_if_idle, number=number)):
            self.halt(session)
        elif self._database.read(partial(approvals.waiting, sessions=[number])):
            self._idleness.begin(number)  # a question may lapse without any news
