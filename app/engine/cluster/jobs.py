"""The queue of jobs, one for each session that needs a worker.

A job is for the workers of the disk that has the session's workspace, or for those that have its agent while it has no
workspace yet.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.worker import Worker

from app.store.leases import Placement
from app.store.liveness import LIVENESS
from app.store.workers import STALE_SECONDS
from app.waiting import is_set_within

WORK = "work"
ANY = "any"
HEARTBEAT_SECONDS = 3.0
_NEVER = 10**9  # seconds
RETRY_SECONDS = 0.5
SHARE_SECONDS = 0.1
"""How long a worker that has as many sessions as it may leaves a new job to others; one that has half, half as long."""
T = TypeVar("T")
log = structlog.get_logger()


class _LastingConnector(PsycopgConnector):
    """Goes on after the database has been away, while it `lasts`: else a worker would end its jobs and then itself.

    A query whose response was lost is sent again. A job that it has fetched unseen is found by `JobQueue.forgotten`.
    """

    lasts = False

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        await self._until_sent(super().execute_query_async, query, arguments)

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await self._until_sent(super().execute_query_one_async, query, arguments)

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await self._until_sent(super().execute_query_all_async, query, arguments)

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        channels = list(channels)
        while True:
            with suppress(ConnectorException):
                await super().listen_notify(on_notification=on_notification, channels=channels)
            await asyncio.sleep(RETRY_SECONDS)

    async def _until_sent(self, execute: Callable[..., Awaitable[T]], query: Any, arguments: dict[str, Any]) -> T:
        while True:
            try:
                return await execute(query, **arguments)
            except ConnectorException as error:
                is_away = isinstance(error.__cause__, psycopg.OperationalError | psycopg.InterfaceError)
                if not is_away or not self.lasts:
                    raise
                log.warning("queue_unavailable", exc_info=True)
            await asyncio.sleep(RETRY_SECONDS)


class _LeastBusyFirst(JobManager):
    """Looks for a job after `delay` seconds: else the worker that is closest to the database would get all."""

    def __init__(self, connector: BaseConnector, delay: Callable[[], float], stopped: asyncio.Event) -> None:
        super().__init__(connector)
        self._delay = delay
        self._stopped = stopped

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        await is_set_within(self._stopped, self._delay())
        return await super().fetch_job(queues, worker_id)


class JobQueue:
    """The queue in the database with this URL; `work(session)` is called for each job that this process gets."""

    def __init__(self, url: str, work: Callable[[int], Awaitable[None]] | None = None) -> None:
        # What the queue loses with the last moments before a crash of the database is found again in the rows.
        options = {**LIVENESS, "options": "-c synchronous_commit=off", "application_name": "ambient-api jobs"}
        self._connector = _LastingConnector(
            conninfo=url, min_size=1, max_size=4, timeout=5, reconnect_timeout=_NEVER, kwargs=options
        )
        self._connector.lasts = work is not None
        self._app = App(connector=self._connector)
        self._stopped = asyncio.Event()
        self._worker: Worker | None = None
        self._run: asyncio.Task[Any] | None = None
        self._at_work: dict[int, asyncio.Task[Any]] = {}

        @self._app.task(name=WORK)
        async def work_on(session: int) -> None:
            task = asyncio.current_task()
            if work and task:
                self._at_work[session] = task
                task.add_done_callback(_note_failure)
                try:
                    await work(session)
                finally:
                    self._at_work.pop(session, None)  # another job for it may have come after its lease was lost

    async def open(self) -> None:
        """Connect to the database."""
        await self._app.open_async()

    async def close(self, within: float = 0) -> None:
        """Begin no further job, wait so many seconds for those under way, and close the connections.

        A database that is away is not waited for. Once it is back, this worker counts as dead, and its jobs as lost.
        """
        self.stop()
        self._connector.lasts = False
        if self._run:
            await asyncio.wait({self._run}, timeout=within)
        for task in self._at_work.values():
            task.cancel()
        await self._app.close_async()

    async def defer(self, placement: Placement) -> None:
        """Have a worker work on a session; nothing if a job for that waits already, or the database is away."""
        key = f"s{placement.session}"
        task = self._app.configure_task(WORK, queue=_queue(placement), lock=key, queueing_lock=key)
        with suppress(AlreadyEnqueued):
            try:
                await task.defer_async(session=placement.session)
            except ConnectorException:
                log.warning("job_not_deferred", exc_info=True)  # the next sweep finds the session

    async def run(self, name: str, disk: str, agents: Iterable[str], concurrency: int) -> None:
        """Work on jobs for a disk and for these agents until `stop`, then wait for those that are under way."""
        self._app.job_manager = _LeastBusyFirst(
            self._connector, lambda: SHARE_SECONDS * len(self._at_work) / concurrency, self._stopped
        )
        self._worker = worker = Worker(
            self._app,
            queues=[ANY, _disk_queue(disk), *map(_agent_queue, agents)],
            name=name,
            concurrency=concurrency,
            fetch_job_polling_interval=1,  # nobody is notified of a job that was blocked by another one
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=_NEVER,  # it would end its heartbeats as soon as it is to stop
            stalled_worker_timeout=_NEVER,  # the reaper has to see them
        )
        self._run = asyncio.current_task()
        heartbeats = asyncio.create_task(self._beat(worker), name="heartbeats of the queue")
        try:
            await worker.run()  # type: ignore[no-untyped-call]
        finally:
            heartbeats.cancel()

    async def _beat(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if worker.worker_id is not None:
                await self._app.job_manager.update_heartbeat(worker.worker_id)

    def stop(self) -> None:
        """Begin no further job."""
        self._stopped.set()
        if self._worker:
            self._worker.stop()  # type: ignore[no-untyped-call]

    async def stalled(self) -> list[tuple[int, int]]:
        """Return job and session of each job whose worker is taken for dead."""
        jobs: Iterable[Job] = await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALE_SECONDS)
        return [(job.id, _session(job)) for job in jobs if job.id is not None]

    async def forgotten(self) -> list[tuple[int, int]]:
        """Return job and session of each job that the queue takes this worker to be at, and it is not."""
        if self._worker is None or self._worker.worker_id is None:
            return []
        jobs = await self._app.job_manager.list_jobs_async(status="doing", worker_id=self._worker.worker_id)
        return [(job.id, _session(job)) for job in jobs if job.id is not None and _session(job) not in self._at_work]

    async def remove(self, job: int) -> None:
        """Remove a job whose worker is dead. Not by a retry: the old worker, should it live, would end the new job."""
        await self._app.job_manager.finish_job_by_id_async(job, Status.FAILED, delete_job=True)

    async def remove_of(self, session: int) -> None:
        """Remove the job that a dead worker was at for a session."""
        for job in await self._app.job_manager.list_jobs_async(status="doing", lock=f"s{session}"):
            if job.id is not None:
                await self.remove(job.id)

    async def remove_waiting(self, disk: str) -> None:
        """Remove the jobs that wait for a worker of a disk."""
        for job in await self._app.job_manager.list_jobs_async(status="todo", queue=_disk_queue(disk)):
            if job.id is not None:
                await self._app.job_manager.cancel_job_by_id_async(job.id, delete_job=True)


def _note_failure(job: asyncio.Task[Any]) -> None:
    if not job.cancelled() and (error := job.exception()):
        log.warning("job_end_not_stored", error=str(error.__cause__ or error))


def _queue(placement: Placement) -> str:
    if placement.disk:
        return _disk_queue(placement.disk)
    return _agent_queue(placement.agent) if placement.agent else ANY


def _disk_queue(disk: str) -> str:
    return f"disk:{disk}"


def _agent_queue(agent: str) -> str:
    # The queue's name is part of the name of a channel, of which PostgreSQL has no more than 63 bytes.
    return f"agent:{hashlib.sha256(agent.encode()).hexdigest()[:16]}"


def _session(job: Job) -> int:
    return int(str(job.task_kwargs["session"]))
