"""The engine in this process: it runs the agents of all sessions, many at once, the runs of each one in order."""

import asyncio

from app.agents.process_group import reap
from app.engine.config import EngineConfig
from app.engine.runner import RunnerPool
from app.engine.scheduling import IdleTimers
from app.engine.signals import Signals
from app.engine.supervisor import Supervisor
from app.observability.metrics import Observe
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.sessions import SessionRow


class Engine(Signals):
    """Runners for the sessions' runs and a supervisor for their states, over one store."""

    def __init__(self, database: Database, config: EngineConfig, observe: Observe) -> None:
        idle_timers = IdleTimers(config.idle_timeout)
        self._agent_records = config.agent_records
        self._runners = RunnerPool(database, config, observe, idle_timers)
        self._supervisor = Supervisor(database, self._runners, config, observe, idle_timers)

    async def start(self) -> None:
        """Resume what an earlier server has left, after ending the agents that have outlived it."""
        if self._agent_records:
            await asyncio.to_thread(reap, self._agent_records)
        await self._supervisor.recover()

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted` and close all agents; queued runs stay queued."""
        await asyncio.gather(self._supervisor.close(), self._runners.close())

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
