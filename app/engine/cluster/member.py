"""An API server as a member of a cluster: it signals the engine of all workers, and may be one of them."""

from collections.abc import Sequence

from app.engine.agent_catalog import WorkersCatalog
from app.engine.cluster.remote import RemoteEngine
from app.engine.cluster.worker import Worker
from app.engine.cluster.workspace_client import RemoteWorkspaces
from app.engine.config import EngineConfig, WorkerPlace
from app.engine.session_log import SessionLogs
from app.observability.metrics import Observe
from app.store.database import Database


class Member:
    """The parts of a server that shares its store; it runs agents itself if it has a `place` for a worker."""

    def __init__(
        self,
        database: Database,
        url: str,
        config: EngineConfig,
        observe: Observe,
        *,
        session_logs: SessionLogs,
        place: WorkerPlace | None,
    ) -> None:
        """`url` is that of the store; raises `DiskError`."""
        self.engine = RemoteEngine(database, url, config.interrupt_timeout)
        self.catalog = WorkersCatalog(database)
        self.workspaces = RemoteWorkspaces(database, config)
        self._agents = config.agents
        self._worker = None
        if place:
            self._worker = Worker(database, url, config, observe, session_logs=session_logs, place=place)

    @property
    def disk(self) -> str | None:
        """The id of the server's own disk, if it is a worker."""
        return self._worker.disk if self._worker else None

    async def figures(self) -> Sequence[float]:
        """Return the values of WORKER_METRICS, none if the server is not a worker."""
        return await self._worker.figures() if self._worker else ()

    async def join(self) -> None:
        """Begin to work."""
        await self.engine.open()
        if self._worker:
            self._agents.log_state()
            await self._worker.start()

    async def leave(self) -> None:
        """End active runs of the server's own worker, some of which it waits for, and disconnect."""
        if self._worker:
            await self._worker.drain()
            await self._worker.close()
        await self.engine.close()
        await self.workspaces.close()
