"""What happens to a session behind the client's back: its workspace is made, it is halted, it is taken up again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from app.backends.embedded import approvals, lifecycle, removals, runs, sessions, workspace
from app.backends.embedded.clock import now_ms
from app.backends.embedded.database import Database
from app.backends.embedded.engine import Engine
from app.backends.embedded.execution import append, break_off
from app.backends.embedded.idleness import Idleness
from app.backends.embedded.lifecycle import Action, Milestone
from app.backends.embedded.places import Places
from app.backends.embedded.recorder import SERVER_RESTARTED, Recorder
from app.backends.embedded.removals import Removal
from app.backends.embedded.sessions import SessionRow
from app.backends.embedded.writer import Observe
from app.types import SessionStatus

CLOSE_SECONDS = 2.0
Step = Callable[[], Awaitable[None]]
log = logging.getLogger(__name__)


class Life:
    """One step at a time for each session: a new one waits for the one before, and breaks off a preparation."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        protocols: Sequence[str],
        observe: Observe,
        *,
        idle_timeout: float | None,
        places: Places,
    ) -> None:
        self._database = database
        self._engine = engine
        self._protocols = protocols
        self._observe = observe
        self._places = places
        self._idleness = Idleness(idle_timeout, self._stop_if_idle)
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

    async def bury(self, removal: Removal) -> None:
        """Put away what is left of a deleted session: its agent and its workspace."""
        await self._begin(removal.number, partial(self._bury, removal))

    async def recover(self) -> None:
        """Take up a store where another server left it, however that ended."""
        await self._database.make_room(_close_runs)
        for removal in self._database.read(removals.pending):
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
            await workspace.prepare(
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
        if await self._database.write_at_last(partial(_prepared, number=session.number, error=error)):
            self._engine.wake(session)
        elif error:
            self._places.leave(session.number)

    async def _halt(self, number: int) -> None:
        try:
            await self._engine.halt(number)
            await self._database.write_at_last(partial(_halted, number=number))
        finally:
            self._places.leave(number)

    async def _bury(self, removal: Removal) -> None:
        try:
            await self._engine.halt(removal.number)
        finally:
            self._places.leave(removal.number)
        await workspace.remove(self._engine.workspace(removal))
        self._engine.forget_log(removal)
        await self._database.write(partial(removals.done, number=removal.number))

    async def _stop_if_idle(self, number: int) -> None:
        if session := await self._database.write_at_last(partial(_stop_if_idle, number=number)):
            self.halt(session)
        elif self._database.read(partial(approvals.waiting, sessions=[number])):
            self._idleness.begin(number)  # a question may lapse without any news


def _prepared(connection: Connection, number: int, error: str | None) -> bool:
    """Let a session run, or fail with `error`; whether it runs now."""
    session = sessions.get(connection, number)
    milestone = Milestone.NOT_PREPARED if error else Milestone.PREPARED
    status = session and lifecycle.reached(milestone, session.status)
    if status:
        sessions.move(connection, number, status, completed_at=now_ms() if error else None, error=error)
    return status is SessionStatus.RUNNING


def _halted(connection: Connection, number: int) -> None:
    """Let a session rest: its queue ends as interrupted, but a task that never began waits for the next start."""
    session = sessions.get(connection, number)
    status = session and lifecycle.reached(Milestone.HALTED, session.status)
    if not status:
        return
    task = runs.first(connection, number)
    for run in runs.queued(connection, number):
        if run.number != task:
            runs.begin(connection, run.number, now_ms())
            recorder = Recorder(run)
            append(connection, run, recorder.interrupt(now_ms()), recorder.ending)
    sessions.move(connection, number, status, completed_at=now_ms())


def _close_runs(connection: Connection) -> None:
    """End every run that a server which is no more has left under way."""
    for run in runs.active(connection):
        break_off(connection, run, SERVER_RESTARTED)


def _stop_if_idle(connection: Connection, number: int) -> SessionRow | None:
    """Let a running session stop that has no run under way or in its queue and waits for no answer; it, if it does."""
    session = sessions.get(connection, number)
    if session is None or session.status is not SessionStatus.RUNNING or runs.foremost(connection, number):
        return None
    if approvals.waiting(connection, [number]):
        return None
    sessions.move(connection, number, lifecycle.after(Action.STOP, session.status))
    return session
