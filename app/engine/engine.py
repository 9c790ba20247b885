"""The engine in this process: it runs the agents of all sessions, many at once, the runs of each one in order."""

import asyncio

from app.engine.config import EngineConfig
from app.engine.disk_quota import DiskQuota
from app.engine.idle import IdleSessions
from app.engine.runner import RunnerPool
from app.engine.session_log import SessionLogs
from app.engine.signals import Signals
from app.engine.supervisor import Supervisor
from app.observability.metrics import Observe
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.quotas import Quotas
from app.store.sessions import SessionRow


class Engine(Signals):
    """Runners for the sessions' runs and a supervisor for their states, over one store."""

    def __init__(
        self,
        database: Database,
        config: EngineConfig,
        quotas: Quotas,
        session_logs: SessionLogs,
        observe: Observe,
        *,
        has_timers: bool = True,
    ) -> None:
        """Without timers (`has_timers`) somebody else stops idle sessions and denies interrupts that expire."""
        idle_sessions = IdleSessions(database, config.idle_timeout) if has_timers else None
        self._runners = RunnerPool(
            database,
            config,
            quotas,
            observe,
            idle_sessions,
            session_logs=session_logs,
            watches_expirations=has_timers,
        )
        self._supervisor = Supervisor(
            database,
            self._runners,
            config,
            observe,
            idle_sessions,
            session_logs=session_logs,
            disk=DiskQuota(database, config, quotas),
        )

    async def start(self) -> None:
        """Resume what an earlier server has left."""
        await self._supervisor.recover()

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted` and close all agents; queued runs stay queued."""
        await asyncio.gather(self._supervisor.close(), self._runners.close())

    def claim_no_more(self) -> None:
        """Let active runs go on, and begin no other."""
        self._runners.claim_no_more()

    def is_busy(self, session: int) -> bool:
        """Return whether anything is being done for a session."""
        return self._supervisor.is_busy(session) or self._runners.is_busy(session)

    async def settled(self, session: int) -> None:
        """Wait until no background work on a session is left."""
        await self._supervisor.settled(session)

    async def release(self, session: int) -> None:
        """End whatever is being done for a session, and its agent, and forget it; its state in the store stays."""
        await self._supervisor.release(session)

    def wake(self, session: int) -> None:
        """See `Signals`."""
        self._runners.wake(session)

    def cancel_run(self, session: int, run: int) -> None:
        """See `Signals`."""
        self._runners.cancel_run(session, run)

    async def interrupt(self, session: int) -> bool:
        """See `Signals`."""
        return await self._runners.interrupt(session)

    def provision(self, session: SessionRow) -> None:
        """See `Signals`."""
        self._supervisor.provision(session)

    def stop(self, session: SessionRow) -> None:
        """See `Signals`."""
        self._supervisor.stop(session)

    async def purge(self, deletion: Deletion) -> None:
        """See `Signals`."""
        await self._supervisor.purge(deletion)
