"""The engine as an API server without one sees it: signals to whichever worker owns a session."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from app.engine.cluster.jobs import JobQueue
from app.engine.signals import Signals
from app.errors import StorageUnavailable
from app.store import deletions, leases, runs, workers
from app.store.commands.runs import request_cancel
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.leases import Placement
from app.store.notifier import notified_before
from app.store.sessions import SessionRow

CLOSE_SECONDS = 1.0
CLAIM_SECONDS = 2.0
"""How long a worker may take to begin a run that was accepted just now; one that is away takes longer."""
PURGE_SECONDS = 5.0
log = structlog.get_logger()


class RemoteEngine(Signals):
    """Defers a job for a session that has no owner; an owner is notified of what the commit has changed anyway."""

    def __init__(self, database: Database, url: str, interrupt_timeout: float) -> None:
        self._database = database
        self._jobs = JobQueue(url)
        self._interrupt_timeout = interrupt_timeout
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect to the queue."""
        await self._jobs.open()

    async def close(self) -> None:
        """Wait until what was signalled is on its way, then disconnect."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        await self._jobs.close()

    def wake(self, session: int) -> None:
        """See `Signals`."""
        self._begin(self._defer_if_unowned(session))

    def cancel_run(self, session: int, run: int) -> None:
        """See `Signals`."""
        self._begin(self._cancel(session, run))

    async def interrupt(self, session: int) -> bool:
        """See `Signals`."""
        deadline = asyncio.get_running_loop().time() + self._interrupt_timeout
        with self._database.notifier.subscribe(session) as changed:
            run = await self._cancel_current(session, changed)
            if run is None:
                return False
            while True:
                changed.clear()
                if not await self._database.read(runs.is_active, run):
                    return True
                if not await notified_before(changed, deadline):
                    raise StorageUnavailable

    async def _cancel_current(self, session: int, changed: asyncio.Event) -> int | None:
        """Ask for the end of the active run, or of the one that a worker is about to begin; return it, None if none."""
        give_up_at = asyncio.get_running_loop().time() + CLAIM_SECONDS
        while True:
            changed.clear()
            run = await self._database.write(request_cancel, session)
            if run is not None or await self._database.read(runs.current_or_next, session) is None:
                return run
            if not await notified_before(changed, give_up_at):
                return None

    def provision(self, session: SessionRow) -> None:
        """See `Signals`."""
        self.wake(session.row_id)

    def stop(self, session: SessionRow) -> None:
        """See `Signals`."""
        self.wake(session.row_id)

    async def purge(self, deletion: Deletion) -> None:
        """See `Signals`; return after PURGE_SECONDS at the latest, the rest is done in any case.

        Nobody waits for a disk that is away.
        """
        deadline = asyncio.get_running_loop().time() + PURGE_SECONDS
        with self._database.notifier.subscribe(deletion.row_id) as changed:
            await self._jobs.defer(Placement(deletion.row_id, deletion.disk))
            is_away = deletion.disk and deletion.disk not in {
                worker.disk for worker in await self._database.read(workers.known) if worker.takes_sessions
            }
            while not is_away:
                changed.clear()
                if await self._database.read(deletions.find, deletion.row_id) is None:
                    return
                if not await notified_before(changed, deadline):
                    return

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _defer_if_unowned(self, session: int) -> None:
        try:
            placement = await self._database.read(leases.placement, session)
            if placement and placement.owner is None:
                await self._jobs.defer(placement)
        except Exception:
            log.exception("signal_failed", session=session)  # the next sweep finds the session

    async def _cancel(self, session: int, run: int) -> None:
        try:
            await self._database.write_until_stored(request_cancel, session, run)
        except Exception:
            log.exception("signal_failed", session=session)
