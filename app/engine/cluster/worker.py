"""A worker: the engine for the sessions whose leases it has."""

import asyncio
import itertools
import time
from contextlib import suppress

import msgspec
import structlog

from app.engine.cluster.disk import Disk
from app.engine.cluster.jobs import HEARTBEAT_SECONDS, JobQueue
from app.engine.cluster.reaper import Reaper
from app.engine.cluster.workspace_server import WorkspaceServer
from app.engine.config import EngineConfig, WorkerPlace
from app.engine.disk_quota import DiskQuota
from app.engine.engine import Engine
from app.engine.local_workspaces import LocalWorkspaces
from app.engine.session_log import SessionLogs
from app.errors import ApiError, NotReady
from app.models.sessions import SessionStatus
from app.observability.metrics import Observe
from app.store import deletions, leases, sessions, workers
from app.store.commands.runs import WaitsForSlot, leave_lease, take_lease
from app.store.database import Database
from app.store.leases import LeasedDatabase, LeaseLost, Orders
from app.store.liveness import PROCESS
from app.store.migrate import require_current
from app.store.notifier import notified_before
from app.store.quotas import Quotas
from app.store.workers import WorkerAgent, WorkerOffer, WorkerRow

LINGER_SECONDS = 60.0
"""How long a session without work stays with its worker, so that its agent need not start again."""
LOOK_SECONDS = 1.0
"""Between two looks at a session that is being worked on, if nothing is heard of it."""
SILENT_SECONDS = 8.0
"""A worker that has not run, or not been heard, for so long loses all of its sessions: others may take it for dead."""
LOCALHOST = "127.0.0.1"
CLOSE_SECONDS = 4.0
log = structlog.get_logger()
_NUMBERS = itertools.count(1)


class Worker:
    """Works on sessions of a store that it shares with other workers, those whose workspaces are on its disk."""

    def __init__(
        self,
        database: Database,
        url: str,
        config: EngineConfig,
        observe: Observe,
        *,
        session_logs: SessionLogs,
        place: WorkerPlace,
    ) -> None:
        """`url` is that of the store; raises `DiskError`."""
        self._database = database
        self._place = place
        self._name = f"{PROCESS}-{next(_NUMBERS)}"
        self._disk = Disk(config.directory, self._name)
        self._seen_at = 0.0
        self._agents = config.agents
        self._max_running = config.max_running
        self._leased = LeasedDatabase(database)
        self._session_logs = session_logs
        quotas = Quotas(database, config.limits)
        self._engine = Engine(
            self._leased,
            msgspec.structs.replace(config, max_running=None),  # the store counts the sessions of all workers
            quotas,
            self._session_logs,
            observe,
            has_timers=False,
        )
        self._server = WorkspaceServer(
            database, LocalWorkspaces(config, DiskQuota(database, config, quotas)), self._disk.id
        )
        self._jobs = JobQueue(url, self._work)
        self._reaper = Reaper(database, self._jobs, self._disk, self._name, config)
        self._is_draining = False
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def disk(self) -> str:
        """The id of its disk."""
        return self._disk.id

    async def start(self) -> None:
        """Serve the workspaces of the disk, connect to the queue and begin to work; `OSError`."""
        seen_as = await self._database.read(workers.address)
        await self._server.open(self._place.host or seen_as or LOCALHOST, self._place.port)
        await self._jobs.open()
        self._seen_at = time.monotonic()
        await self._database.write(workers.beat, self._row())
        jobs = self._jobs.run(self._name, self._disk.id, self._agents.definitions, self._place.sessions)
        self._tasks = [
            asyncio.create_task(jobs, name="jobs"),
            asyncio.create_task(self._reaper.run(), name="reaper"),
            asyncio.create_task(self._beat(), name="heartbeats"),
            asyncio.create_task(self._watch(), name="watchdog"),
        ]

    async def ready(self) -> None:
        """Return if it takes sessions; `NotReady`, `StorageUnavailable`."""
        await self._database.read(require_current)
        if not self._tasks:
            raise NotReady("The worker is starting.")
        if self._is_draining:
            raise NotReady("The worker is draining: it takes no more sessions.")

    async def figures(self) -> tuple[float, float]:
        """Return the values of WORKER_METRICS."""
        return len(self._leased.held), self._leased.refused_writes

    async def drain(self) -> None:
        """Take no more sessions, and wait for active runs, as long as `place` says; the queues go to other workers."""
        if self._tasks and self._place.drain:
            with suppress(ApiError):
                await self._database.write(workers.drain, self._name)
            self._begin_drain()
            await asyncio.wait(self._tasks[:1], timeout=self._place.drain)

    def _begin_drain(self) -> None:
        if not self._is_draining:
            self._is_draining = True
            log.info("worker_drains", sessions=len(self._leased.held))
            self._jobs.stop()
            self._engine.claim_no_more()

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted` and leave all sessions to other workers."""
        self._closing.set()
        self._jobs.stop()
        await self._engine.close()
        await self._jobs.close(CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session_logs.flush()
        await self._server.close()
        with suppress(ApiError):
            await self._database.write(workers.end, self._name)
        self._disk.release()

    async def ended(self) -> None:
        """Wait until the worker has ended by itself, which it should not. One that drains stays, for its workspaces."""
        await asyncio.wait({self._tasks[0]})
        if self._is_draining:
            await self._closing.wait()

    async def _work(self, session: int) -> None:
        """Be the worker of a session until it has nothing to do, or somebody else is."""
        deletion = await self._leased.read(deletions.find, session)
        if deletion and deletion.disk in {None, self._disk.id}:
            await self._engine.purge(deletion)
            await self._engine.settled(session)
            self._reaper.hurry()
            return
        try:
            epoch = await self._database.write_until_stored(
                take_lease, session, self._name, self._disk.id, self._max_running
            )
        except WaitsForSlot:
            await self._log_slot(session, waits=True)
            return
        if epoch is None:
            await self._defer(session)  # deleted meanwhile, or on another disk
            return
        self._leased.held[session] = epoch
        if self._max_running is not None:
            await self._log_slot(session, waits=False)
        try:
            with suppress(LeaseLost):
                await self._attend(session, epoch)
        finally:
            self._leased.held.pop(session, None)
            await self._engine.release(session)
            if self._closing.is_set() or self._is_draining:
                await self._leave(session, epoch)
            elif await self._leased.read(deletions.find, session):
                await self._defer(session)
            self._reaper.hurry()  # others may wait for the slot

    async def _log_slot(self, session: int, *, waits: bool) -> None:
        """Say in the session's log that it waits for a slot, or that it has one after it has waited."""
        line = f"waits for a slot, MAX_RUNNING_SESSIONS is {self._max_running}"
        row = await self._leased.read(sessions.get, session)
        if row:
            has_waited = (await self._session_logs.tail(session, 1)).endswith(f"{line}\n")
            if waits != has_waited:
                self._session_logs.of(row).write("session", line if waits else "has a slot")

    async def _leave(self, session: int, epoch: int) -> None:
        """Leave a session with its work to another worker."""
        with suppress(ApiError):
            await self._database.write(leave_lease, session, epoch)
            if session in await self._database.read(leases.with_work, [session]):
                await self._defer(session)

    async def _defer(self, session: int) -> None:
        if placement := await self._leased.read(leases.placement, session):
            await self._jobs.defer(placement)

    async def _attend(self, session: int, epoch: int) -> None:
        done: tuple[SessionStatus, int] | None = None
        loop = asyncio.get_running_loop()
        idle_from = loop.time()
        with self._database.notifier.subscribe(session) as changed:
            while not self._closing.is_set() and session in self._leased.held:
                changed.clear()
                orders = await self._leased.read(leases.orders, session)
                if orders is None or orders.epoch != epoch:
                    return
                state = orders.status, orders.status_changed_at
                if self._is_draining and not self._engine.is_busy(session):
                    return
                if self._must_wait_anew(orders, done):
                    await self._leased.write_until_stored(leases.give_up, session, epoch)
                    return
                await self._carry_out(session, orders, is_new=state != done)
                done = state
                now = loop.time()
                is_running = orders.status is SessionStatus.RUNNING  # a session that never began has its task queued
                stays_until = idle_from + self._linger_seconds() if is_running else now
                if (is_running and orders.has_queued_run) or self._engine.is_busy(session):
                    idle_from = now
                elif now >= stays_until and await self._leased.write_until_stored(leases.release, session, epoch):
                    return
                await notified_before(changed, now + LOOK_SECONDS)

    def _linger_seconds(self) -> float:
        """Return how long a session without work stays: not at all while others may wait for its place."""
        return LINGER_SECONDS if len(self._leased.held) < self._place.sessions else 0

    def _must_wait_anew(self, orders: Orders, done: tuple[SessionStatus, int] | None) -> bool:
        """Return whether a session was stopped and started meanwhile, and so is to wait for a slot like any other."""
        is_started = done is not None and orders.status is SessionStatus.PENDING and orders.status_changed_at != done[1]
        return is_started and self._max_running is not None

    async def _carry_out(self, session: int, orders: Orders, *, is_new: bool) -> None:
        if orders.cancel is not None:
            self._engine.cancel_run(session, orders.cancel)
        if orders.status is SessionStatus.RUNNING and orders.has_queued_run:
            self._engine.wake(session)
        if is_new and orders.status in {SessionStatus.PENDING, SessionStatus.STOPPING}:
            row = await self._leased.read(sessions.get, session)
            if row and row.status is SessionStatus.PENDING:
                self._engine.provision(row)
            elif row and row.status is SessionStatus.STOPPING:
                self._engine.stop(row)

    async def _beat(self) -> None:
        """Say all the time that this worker is alive."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            now = time.monotonic()
            with suppress(ApiError):
                if await self._database.write(workers.beat, self._row()):
                    self._begin_drain()
                self._seen_at = now

    def _row(self) -> WorkerRow:
        offer = WorkerOffer(
            agents=[
                WorkerAgent(summary=each, offer_key=self._agents.key(each.name)) for each in self._agents.summaries()
            ],
            sandboxed=self._agents.sandbox.in_force,
        )
        return WorkerRow(self._name, self._disk.id, self._server.url, self._server.token, offer)

    async def _watch(self) -> None:
        """Lose all sessions once this worker may be taken for dead, before another one can be at work on the same disk.

        A worker that is cut off from the database goes on if it has the disk for itself: nobody else can.
        """
        while True:
            before = time.monotonic()
            await asyncio.sleep(1)
            now = time.monotonic()
            if now - before > SILENT_SECONDS:
                self._lose_all("worker_was_frozen")
            elif now - self._seen_at > SILENT_SECONDS and await asyncio.to_thread(self._disk.is_shared):
                self._lose_all("worker_cut_off")

    def _lose_all(self, reason: str) -> None:
        if held := self._leased.held:
            log.warning(reason, sessions=len(held))
            self._leased.lose_all()
