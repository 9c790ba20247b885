"""One runner for each session: it runs the session's queue in order, and owns the agent that takes the turns.

A runner works while it is awake. `wake` starts its task, which claims one queued run after another and carries each
out as an `Execution`; when the queue is empty the task ends, and the agent stays for the next run. A wake that comes
while the task works is remembered, so that a run which is queued after the last look into the queue is not missed.

    idle ── wake ──▶ claim ── a run ──▶ execute ──▶ claim … ── nothing queued ──▶ idle
                       └───────────── stop: no further claim, the agent is closed

Who cancels whom: signals reach the runner, the runner cancels its current execution, the execution stops the agent.
A claimed run has its `Execution` before the runner awaits anything else, so that a signal which was sent after the
commit of the claim always finds it.
"""

import asyncio
import time
from collections.abc import Awaitable

import msgspec
import structlog

from app.agents.port import Agent, RequestApproval, Turn
from app.agui.run_recorder import INTERNAL_ERROR
from app.engine.config import EngineConfig
from app.engine.event_buffer import CancelReason
from app.engine.execution import Execution, close_agent, grace_period
from app.engine.expirations import Expirations
from app.engine.scheduling import IdleTimers
from app.engine.session_log import SessionLog, SessionLogs
from app.errors import StorageUnavailable
from app.observability.metrics import Observe
from app.store import agent_state, runs
from app.store.agent_input import agent_input
from app.store.commands.runs import abort_run, claim_run, save_agent_state
from app.store.database import Database
from app.store.runs import RunRow
from app.store.sessions import SessionRow

CLOSE_SECONDS = 4.0
log = structlog.get_logger()


class Runner:
    """Runs the queue of one session, one run after another; `session` is its row id."""

    def __init__(
        self,
        session: int,
        database: Database,
        config: EngineConfig,
        observe: Observe,
        *,
        idle_timers: IdleTimers,
        expirations: Expirations,
    ) -> None:
        self._session = session
        self._database = database
        self._config = config
        self._observe = observe
        self._idle_timers = idle_timers
        self._expirations = expirations
        self._agent: Agent | None = None
        self._execution: Execution | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake_pending = False
        self._stop_reason: CancelReason | None = None
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look into the queue; to be called after each change that may have put a run at its head."""
        self._wake_pending = True
        if self._task is None and self._stop_reason is None:
            self._task = asyncio.create_task(self._work(), name=f"runs of session {self._session}")

    def cancel_run(self, run: int) -> None:
        """End a run as interrupted if it is the current one."""
        if self._execution and self._execution.row_id == run:
            self._execution.cancel(CancelReason.INTERRUPT)

    async def interrupt(self) -> bool:
        """Cancel the current run, or the one that is being claimed, and wait for its end; False if there is none."""
        execution = await self._current()
        if execution is None:
            return False
        execution.cancel(CancelReason.INTERRUPT)
        await execution.ended.wait()
        return True

    async def stop(self, reason: CancelReason) -> None:
        """End the current run, claim no other, close the agent."""
        self._stop_reason = reason
        if self._execution:
            self._execution.cancel(reason)
        if self._task:
            await asyncio.wait({self._task})
        if self._agent:
            agent, self._agent = self._agent, None
            await close_agent(agent, grace_period(self._config, reason).close)

    def abandon(self) -> None:
        """Cancel the runner's task; the next start ends its run."""
        if self._task:
            self._task.cancel()

    async def _current(self) -> Execution | None:
        while self._task:
            self._changed.clear()
            # The store decides: a client may have read there of an end that is not announced here yet.
            execution = self._execution
            if execution is not None and await self._database.read(runs.is_active, execution.row_id):
                return execution
            await self._changed.wait()
        return None

    async def _work(self) -> None:
        try:
            while self._wake_pending:
                self._wake_pending = False
                while self._stop_reason is None and (
                    claimed := await self._database.write_until_stored(claim_run, self._session)
                ):
                    await self._execute(*claimed)
            if self._stop_reason is None:
                self._idle_timers.start(self._session)
        finally:
            self._task = None
            self._changed.set()

    async def _execute(self, run: RunRow, session: SessionRow) -> None:
        began = time.perf_counter()
        self._execution = execution = Execution(self._database, run, session, self._config)
        if self._stop_reason:
            execution.cancel(self._stop_reason)
        self._changed.set()
        session_log = SessionLogs(self._config.logs).of(session)
        session_log.write(f"run {run.run_id}", "begins")

        def make_turn(request_approval: RequestApproval) -> Awaitable[Turn]:
            return self._turn(run, session, session_log, request_approval)

        try:
            await execution.run(self._get_agent, make_turn)
        except Exception:
            log.exception("run_failed", run_id=run.run_id)
            await self._database.write_until_stored(abort_run, run, INTERNAL_ERROR)
        finally:
            self._execution = None
            if execution.agent_lost:
                self._agent = None
        if outcome := execution.outcome:
            if outcome.interrupts:
                self._expirations.watch(self._session)
            self._observe("run", time.perf_counter() - began, outcome.status)
            session_log.write(f"run {run.run_id}", ": ".join(filter(None, (outcome.status, outcome.error))))

    def _get_agent(self) -> Agent:
        self._agent = self._agent or self._config.make_agent()
        return self._agent

    async def _turn(
        self, run: RunRow, session: SessionRow, session_log: SessionLog, request_approval: RequestApproval
    ) -> Turn:
        async def save_state(state: str) -> None:
            await self._database.write_until_stored(save_agent_state, run, state)

        return Turn(
            input=await self._database.read_in_thread(agent_input, run),
            workspace=self._config.workspace(session),
            environment=session.request.environment_variables or {},
            log=lambda text: session_log.write("agent", text),
            new_messages=len(msgspec.json.decode(run.input)["messages"]),
            request_approval=request_approval,
            model=session.request.model,
            saved_state=await self._database.read(agent_state.get, self._session, run.thread_id),
            save_state=save_state,
        )


class RunnerPool:
    """The runners of all sessions that have had something to do since the start, by the sessions' row ids."""

    def __init__(self, database: Database, config: EngineConfig, observe: Observe, idle_timers: IdleTimers) -> None:
        self._database = database
        self._config = config
        self._observe = observe
        self._idle_timers = idle_timers
        self._expirations = Expirations(database, self.wake)
        self._runners: dict[int, Runner] = {}
        self._closing = False

    def wake(self, session: int) -> None:
        """Run what is queued in a session; nothing once the server stops."""
        if self._closing:
            return
        if session not in self._runners:
            self._runners[session] = Runner(
                session,
                self._database,
                self._config,
                self._observe,
                idle_timers=self._idle_timers,
                expirations=self._expirations,
            )
        self._runners[session].wake()

    def watch_expirations(self, session: int) -> None:
        """Deny the pending interrupts of a session when they expire."""
        self._expirations.watch(session)

    def cancel_run(self, session: int, run: int) -> None:
        """End a run as interrupted if it is the session's current one."""
        if runner := self._runners.get(session):
            runner.cancel_run(run)

    async def interrupt(self, session: int) -> bool:
        """Cancel the session's current run and wait for its end; False if there is none; `StorageUnavailable`."""
        runner = self._runners.get(session)
        if runner is None:
            return False
        try:
            async with asyncio.timeout(self._config.interrupt_timeout):
                return await runner.interrupt()
        except TimeoutError as error:
            raise StorageUnavailable from error

    async def stop(self, session: int) -> None:
        """End the session's current run as interrupted, claim no other, close its agent."""
        self._expirations.forget(session)
        if runner := self._runners.get(session):
            await runner.stop(CancelReason.STOP)
            self._runners.pop(session, None)

    async def close(self) -> None:
        """End all current runs because the server stops, within CLOSE_SECONDS; queued runs stay queued."""
        self._closing = True
        self._expirations.close()
        stops = [asyncio.create_task(runner.stop(CancelReason.SHUTDOWN)) for runner in self._runners.values()]
        if stops:
            _, late = await asyncio.wait(stops, timeout=CLOSE_SECONDS)
            for runner in self._runners.values():
                runner.abandon()
            for stop in late:
                stop.cancel()
        self._runners.clear()
