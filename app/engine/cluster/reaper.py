"""Sweeps of every worker, for all: sessions of dead workers and lost disks, and work that has no job."""

import asyncio
import time
from collections.abc import Iterable

import structlog

from app.clock import now_ms
from app.engine.cluster.disk import Disk
from app.engine.cluster.jobs import JobQueue
from app.engine.config import EngineConfig
from app.errors import ApiError
from app.store import deletions, idle, leases, rates, workers
from app.store.commands.approvals import expire_interrupts
from app.store.commands.sessions import fail_without_disk, stop_if_idle, take_from_lost_worker
from app.store.database import Database
from app.store.workers import STALE_SECONDS
from app.waiting import is_set_within

SWEEP_SECONDS = 2.0
SWEEP_LIMIT = 100
log = structlog.get_logger()


class Reaper:
    """Sweeps over a store for the worker `name` with its disk."""

    def __init__(self, database: Database, jobs: JobQueue, disk: Disk, name: str, config: EngineConfig) -> None:
        self._database = database
        self._jobs = jobs
        self._disk = disk
        self._name = name
        self._config = config
        self._suspected: set[int] = set()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Sweep for ever."""
        # A database that was away has no recent heartbeats. They come first, before anything is taken for lost.
        not_before = time.monotonic() + STALE_SECONDS
        while True:
            try:
                await self._end_leases_of_dead_neighbours()
                if time.monotonic() >= not_before:
                    await self._end_leases_of_dead_workers()
                    await self._give_up_lost_disks()
                await self._remove_forgotten_jobs()
                await self._find_sessions_with_work()
            except Exception as error:
                log.warning("sweep_failed", exc_info=not isinstance(error, ApiError))
                not_before = time.monotonic() + STALE_SECONDS
            await self._pause()

    def hurry(self) -> None:
        """Sweep now rather than later."""
        self._hurry.set()

    async def _pause(self) -> None:
        await is_set_within(self._hurry, SWEEP_SECONDS)
        self._hurry.clear()

    async def _end_leases_of_dead_neighbours(self) -> None:
        """Take over at once from workers of the same disk that are known to have ended."""
        for worker in await self._database.read(workers.known):
            is_neighbour = worker.disk == self._disk.id and worker.name != self._name and worker.url is not None
            if is_neighbour and await asyncio.to_thread(self._disk.is_dead, worker.name):
                for session in await self._database.read(leases.owned_by, worker.name):
                    await self._jobs.remove_of(session)
                    await self._revoke(session)
                await self._database.write(workers.end, worker.name)
                await asyncio.to_thread(self._disk.forget, worker.name)

    async def _end_leases_of_dead_workers(self) -> None:
        for job, session in await self._jobs.stalled():
            await self._jobs.remove(job)
            await self._revoke(session)

    async def _revoke(self, session: int) -> None:
        placement = await self._database.read(leases.placement, session)
        if placement and placement.owner:
            await self._database.read(workers.end_connections, placement.owner)
        await self._database.write(take_from_lost_worker, session)
        log.warning("worker_lost", session=session)
        await self._defer([session])

    async def _give_up_lost_disks(self) -> None:
        for disk in await self._database.read(workers.lost_disks, self._config.worker_lost):
            await self._jobs.remove_waiting(disk)
            for session in await self._database.read(leases.on_disk, disk):
                await self._database.write(fail_without_disk, session)
                log.warning("disk_lost", session=session, disk=disk)
            await self._database.write(deletions.leave_disk, disk)
        await self._database.write(workers.forget)
        await self._database.write(rates.forget_full)

    async def _remove_forgotten_jobs(self) -> None:
        """Remove jobs that this worker has fetched, or finished, by a query whose response was lost."""
        forgotten = dict(await self._jobs.forgotten())
        for job in forgotten.keys() & self._suspected:
            await self._jobs.remove(job)
            log.warning("job_forgotten", session=forgotten[job])
        self._suspected = forgotten.keys() - self._suspected

    async def _find_sessions_with_work(self) -> None:
        now = now_ms()
        for session in await self._database.read(leases.expired, now):
            await self._database.write(expire_interrupts, session)
        limit = self._config.idle_timeout
        for session, at in (await self._database.read(idle.deadlines, limit)).items():
            if at <= now:
                await self._database.write(stop_if_idle, session, limit)
        for placement in await self._database.read(leases.without_worker, SWEEP_LIMIT, self._config.max_running):
            await self._jobs.defer(placement)

    async def _defer(self, sessions: Iterable[int]) -> None:
        for session in sessions:
            if placement := await self._database.read(leases.placement, session):
                await self._jobs.defer(placement)
