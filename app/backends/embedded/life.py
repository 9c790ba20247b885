"""What happens to a session behind the client's back: its workspace is made, it is halted, it is taken up again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from app.backends.embedded import lifecycle, runs, sessions, workspace
from app.backends.embedded.clock import now_ms
from app.backends.embedded.database import Database
from app.backends.embedded.engine import Engine
from app.backends.embedded.execution import append, break_off
from app.backends.embedded.lifecycle import Milestone
from app.backends.embedded.recorder import SERVER_RESTARTED, Recorder
from app.backends.embedded.sessions import SessionRow
from app.backends.embedded.writer import Observe
from app.types import SessionStatus

CLOSE_SECONDS = 2.0
Step = Callable[[SessionRow], Awaitable[None]]
log = logging.getLogger(__name__)


class Life:
    """One step at a time for each session: a new one waits for the one before, and breaks off a preparation."""

    def __init__(self, database: Database, engine: Engine, protocols: Sequence[str], observe: Observe) -> None:
        self._database = database
        self._engine = engine
        self._protocols = protocols
        self._observe = observe
        self._steps: dict[int, asyncio.Task[None]] = {}
        self._preparing: dict[int, asyncio.Task[None]] = {}

    def prepare(self, session: SessionRow) -> None:
        """Make the workspace of a pending session, then let it run."""
        self._preparing[session.number] = self._begin(session, self._prepare)

    def halt(self, session: SessionRow) -> None:
        """Bring a stopping session to its end."""
        self._begin(session, self._halt)

    async def bury(self, session: SessionRow) -> None:
        """Put away what is left of a deleted session: its agent and its workspace."""
        await self._begin(session, self._bury)

    async def recover(self, directory: Path) -> None:
        """Take up a store where another server left it, however that ended; `directory` holds all workspaces."""
        orphans = set(await asyncio.to_thread(_workspaces, directory))
        await self._database.write(_close_runs)
        orphans -= self._database.read(sessions.known)
        for project, session_id in sorted(orphans):
            await _remove(directory / project / session_id)
        for session in self._database.read(partial(sessions.in_state, status=SessionStatus.PENDING)):
            self.prepare(session)
        for session in self._database.read(partial(sessions.in_state, status=SessionStatus.STOPPING)):
            self.halt(session)
        for session in self._database.read(sessions.with_queue):
            self._engine.wake(session)

    async def close(self) -> None:
        """Break off all steps; the next start carries them on."""
        steps = set(self._steps.values())
        for step in steps:
            step.cancel()
        if steps:
            await asyncio.wait(steps, timeout=CLOSE_SECONDS)

    def _begin(self, session: SessionRow, step: Step) -> "asyncio.Task[None]":
        if preparing := self._preparing.pop(session.number, None):
            preparing.cancel()
        task = asyncio.create_task(self._after(self._steps.get(session.number), step, session))
        self._steps[session.number] = task
        task.add_done_callback(partial(self._forget, session.number))
        return task

    def _forget(self, number: int, task: "asyncio.Task[None]") -> None:
        for tasks in (self._steps, self._preparing):
            if tasks.get(number) is task:
                del tasks[number]

    async def _after(self, previous: "asyncio.Task[None] | None", step: Step, session: SessionRow) -> None:
        if previous:
            await asyncio.wait({previous})
        try:
            await step(session)
        except Exception:
            log.exception("a step in the life of a session failed")

    async def _prepare(self, session: SessionRow) -> None:
        began = time.perf_counter()
        error: str | None = None
        try:
            await workspace.prepare(self._engine.workspace(session), session.request, protocols=self._protocols)
        except workspace.WorkspaceError as reason:
            error = str(reason)
        except Exception:
            log.exception("a workspace could not be made")
            error = "The workspace could not be made."
        self._observe("workspace", time.perf_counter() - began, "error" if error else "ok")
        if await self._database.write_at_last(partial(_prepared, number=session.number, error=error)):
            self._engine.wake(session)

    async def _halt(self, session: SessionRow) -> None:
        await self._engine.halt(session.number)
        await self._database.write_at_last(partial(_halted, number=session.number))

    async def _bury(self, session: SessionRow) -> None:
        await self._engine.halt(session.number)
        await _remove(self._engine.workspace(session))


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


def _workspaces(directory: Path) -> list[tuple[str, str]]:
    return [(path.parent.name, path.name) for path in directory.glob("*/*")]


async def _remove(directory: Path) -> None:
    """Remove a workspace; what cannot be removed now is tried again at the next start."""
    try:
        await workspace.remove(directory)
    except Exception:
        log.exception("a workspace could not be removed")
