"""The embedded backend: the port over the store and the engine of this process."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from app.backends.embedded.agents import EmbeddedAgents
from app.backends.embedded.attachments import Attachments
from app.backends.embedded.output import EmbeddedOutput
from app.backends.embedded.runs import EmbeddedRuns
from app.backends.embedded.sessions import EmbeddedSessions
from app.backends.embedded.unfinished import Unfinished
from app.backends.embedded.workspaces import EmbeddedWorkspaces
from app.clock import now_ms
from app.engine.agent_catalog import AgentCatalog, LocalCatalog
from app.engine.config import EngineConfig, WorkerPlace
from app.engine.disk_quota import DiskQuota
from app.engine.engine import Engine
from app.engine.local_workspaces import LocalWorkspaces
from app.engine.session_log import SessionLogs
from app.engine.session_workspaces import SessionWorkspaces
from app.engine.signals import Signals
from app.errors import ApiError
from app.models.caller import Caller, Credentials, Identity, KeyIdentity, Role
from app.models.limits import Rate, RequestsTaken
from app.models.sessions import SessionStatus
from app.observability.metrics import Observe
from app.port.backend import FEATURES, OPERATIONS, Backend
from app.store import keys, rates, sessions, workers
from app.store.migrate import require_current
from app.store.open import open_database, sqlite_file
from app.store.quotas import Quotas, sums

if TYPE_CHECKING:
    from app.engine.cluster.member import Member

KEY_USE_SECONDS = 600.0
log = structlog.get_logger()


def _ignore(_operation: str, _seconds: float, _outcome: str) -> None:
    """Observe nothing."""


class EmbeddedBackend(Backend):
    """Sessions in the store with this URL, their workspaces in a directory, their agents on this machine.

    An operation that changes the store and then signals the engine is finished even if its request is cancelled in
    between.
    """

    def __init__(
        self,
        store: str,
        config: EngineConfig,
        observe: Observe = _ignore,
        *,
        runs_agents: bool = True,
        place: WorkerPlace | None = None,
    ) -> None:
        """Unless it `runs_agents`, workers do, with which it shares the store. `place` is where it is a worker too."""
        self._store = store
        self._runs_agents = runs_agents
        self._place = place or WorkerPlace()
        self._engine: Engine | None = None
        self._member: Member | None = None
        self._config = config
        self._observe = observe
        self.take_requests = None if sqlite_file(store) else self._take_requests
        self._unfinished = Unfinished()
        self._noted_uses: dict[str, float] = {}  # of keys, by their ids; as many as there are keys in use
        self._noting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open and migrate the store, then resume what an earlier server has left.

        `StorageUnavailable` if another server uses it.
        """
        self._database = await open_database(self._store, self._observe, shared=not self._runs_agents)
        try:
            self._quotas = Quotas(self._database, self._config.limits)
            self._session_logs = SessionLogs(self._database, self._config.secrets)
            if sqlite_file(self._store):
                self._engine = await self._start_engine()
                signals: Signals = self._engine
                self._catalog: AgentCatalog = LocalCatalog(self._config.agents)
                workspaces: SessionWorkspaces = LocalWorkspaces(
                    self._config, DiskQuota(self._database, self._config, self._quotas)
                )
            else:
                self._member = await self._join_workers()
                signals, self._catalog = self._member.engine, self._member.catalog
                workspaces = self._member.workspaces
            attachments = Attachments(self._config, self._catalog, workspaces)
            self.agents = agents = EmbeddedAgents(self._database, self._catalog)
            self.sessions = EmbeddedSessions(
                self._database,
                signals,
                self._unfinished,
                self._config,
                agents=agents,
                quotas=self._quotas,
                attachments=attachments,
                own_disk=self._member.disk if self._member else None,
            )
            self.output = EmbeddedOutput(self._database, self._session_logs)
            self.runs = EmbeddedRuns(
                self._database,
                signals,
                self._unfinished,
                output=self.output,
                quotas=self._quotas,
                attachments=attachments,
            )
            self.workspaces = EmbeddedWorkspaces(self._database, workspaces)
        except BaseException:
            await self._database.close()
            raise

    async def _start_engine(self) -> Engine:
        self._config.agents.log_state()
        engine = Engine(self._database, self._config, self._quotas, self._session_logs, self._observe)
        await engine.start()
        return engine

    async def _join_workers(self) -> "Member":
        from app.engine.cluster.member import Member  # noqa: PLC0415 - what it imports is of no use with a file

        place = self._place if self._runs_agents else None
        member = Member(
            self._database,
            self._store,
            self._config,
            self._observe,
            session_logs=self._session_logs,
            place=place,
        )
        try:
            await member.join()
        except BaseException:
            await member.leave()
            raise
        return member

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted`, leave queued ones queued, close the store."""
        await self._unfinished.wait()
        if self._noting:
            await asyncio.wait(self._noting)
        if self._engine:
            await self._engine.close()
        if self._member:
            await self._member.leave()
        await self._session_logs.flush()
        await self._database.close()

    async def ready(self) -> None:
        """Return if the store can be read, and has the tables of this version or a later one."""
        await self._database.read(require_current)
        await self._database.read(sessions.count, SessionStatus.PENDING)

    async def _take_requests(self, client: bytes, rate: Rate, count: int) -> RequestsTaken:
        return await self._database.read_one(rates.take, client, rate, count)

    async def running_sessions(self) -> int:
        """Return how many sessions of all projects are running."""
        return await self._database.read(sessions.count, SessionStatus.RUNNING)

    async def totals(self) -> tuple[int, int, int]:
        """Return how many sessions are running, and what all sessions store and take on the disk."""
        return await self.running_sessions(), *await self._database.read_in_thread(sums, None)

    async def cluster_figures(self) -> Sequence[float]:
        """Return the values of CLUSTER_METRICS."""
        return await self._database.read(workers.totals)

    async def worker_figures(self) -> Sequence[float]:
        """Return the values of WORKER_METRICS, none if the server is not a worker."""
        return await self._member.figures() if self._member else ()

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """See `keys.verify`. The use of a key is stored at most every KEY_USE_SECONDS, in the background."""
        caller = await self._database.read_one(keys.verify, credentials, role)
        if caller.key_id and monotonic() - self._noted_uses.get(caller.key_id, float("-inf")) >= KEY_USE_SECONDS:
            self._noted_uses[caller.key_id] = monotonic()
            noting = asyncio.create_task(self._note_use(caller.key_id))
            self._noting.add(noting)
            noting.add_done_callback(self._noting.discard)
        return caller

    async def _note_use(self, key_id: str) -> None:
        try:
            await self._database.write(keys.note_use, key_id, now_ms())
        except ApiError as error:
            log.warning("key_use_not_noted", key=key_id, reason=error.code)

    async def whoami(self, caller: Caller) -> Identity:
        """Return the caller's key; all operations are there, and the features that this server has."""
        key = await self._database.read(keys.identity, caller.token)
        missing = set() if await self._catalog.are_sandboxed() else {"sandbox"}
        missing |= set() if self._config.local_roots.get(key.project) else {"local_directories"}
        return Identity(
            project=key.project,
            role=key.role,
            key=KeyIdentity(id=key.id, name=key.name or None, expires_at=key.expires_at),
            backend="embedded",
            capabilities=sorted((OPERATIONS | FEATURES) - missing),
            limits=self._quotas.limits,
            usage=await self._quotas.usage(key.project),
        )
