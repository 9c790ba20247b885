"""All sessions' runs: many sessions at once, the runs of each one after another."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from app.agents.port import Agent
from app.engine.approval_broker import ApprovalRules
from app.engine.execution import SHUTDOWN_GRACE, CancelReason, GracePeriod
from app.engine.runner import Runner
from app.engine.session_log import SessionLog
from app.errors import StorageUnavailable
from app.models.approvals import ApprovalPolicy
from app.observability.metrics import Observe
from app.store.database import Database
from app.store.deletions import Deletion
from app.store.sessions import SessionRow

INTERRUPT_SECONDS = 10.0
CLOSE_SECONDS = 4.0


class Engine:
    """Keeps one runner for each session that has had something to do since the start."""

    def __init__(
        self,
        database: Database,
        workspaces: Path,
        make_agent: Callable[[], Agent],
        *,
        run_timeout: float,
        approval_timeout: float,
        patience: GracePeriod,
        observe: Observe,
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._logs = workspaces.with_name("logs")
        self._make_agent = make_agent
        self._run_timeout = run_timeout
        self._approval_timeout = approval_timeout
        self._grace = patience
        self._observe = observe
        self._runners: dict[int, Runner] = {}
        self._closing = False
        self.on_idle: Callable[[int], None] = lambda _session: None
        """Called when a session has nothing more to do."""

    def workspace(self, session: SessionRow | Deletion) -> Path:
        """The session's own directory."""
        return self._workspaces / session.project / session.id

    def session_log(self, session: SessionRow) -> SessionLog:
        """The session's log; values of its environment are not written there."""
        secrets = (session.request.environment_variables or {}).values()
        return SessionLog(self._log(session), secrets)

    def delete_log(self, session: Deletion) -> None:
        """Remove the log of a session that is deleted."""
        SessionLog(self._log(session)).remove()

    def _log(self, session: SessionRow | Deletion) -> Path:
        return self._logs / session.project / f"{session.id}.log"

    def wake(self, session: SessionRow) -> None:
        """See to it that what is queued in a session is run."""
        if self._closing:
            return
        runner = self._runners.get(session.row_id)
        if runner is None:
            runner = self._runners[session.row_id] = Runner(
                session.row_id,
                self.workspace(session),
                session.request.environment_variables or {},
                asking=ApprovalRules(session.request.approval_policy or ApprovalPolicy.ASK, self._approval_timeout),
                database=self._database,
                make_agent=self._make_agent,
                run_timeout=self._run_timeout,
                patience=self._grace,
                observe=self._observe,
                rested=self.on_idle,
                logbook=self.session_log(session),
            )
        runner.wake()

    def cancel_run(self, session: int, run: int) -> None:
        """End that run of the session as interrupted, if it is still under way."""
        if runner := self._runners.get(session):
            runner.cancel_run(run)

    async def interrupt(self, session: int) -> bool:
        """Cut the session's current run and see it end; False if there is none.

        `StorageUnavailable` if the end could not be stored in time; it will be, as soon as the store works again.
        """
        runner = self._runners.get(session)
        if runner is None:
            return False
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                return await runner.interrupt()
        except TimeoutError as error:
            raise StorageUnavailable from error

    async def stop(self, session: int) -> None:
        """End the session's current run as interrupted, take up no other, close its agent."""
        if runner := self._runners.get(session):
            await runner.stop(CancelReason.STOP)
            self._runners.pop(session, None)

    async def close(self) -> None:
        """End what is under way because the server goes down, within `CLOSE_SECONDS`; queued runs stay queued."""
        self._closing = True
        halts = [
            asyncio.create_task(runner.stop(CancelReason.SHUTDOWN, SHUTDOWN_GRACE)) for runner in self._runners.values()
        ]
        if halts:
            _, late = await asyncio.wait(halts, timeout=CLOSE_SECONDS)
            for runner in self._runners.values():
                runner.cancel()
            for halt in late:
                halt.cancel()
        self._runners.clear()
