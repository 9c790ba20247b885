"""One session's queue of runs, worked off one after another, and the agent that takes the turns."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from app.agents.port import Agent, RequestApproval, Turn
from app.agui.run_recorder import INTERNAL_ERROR
from app.engine.approval_broker import ApprovalRules
from app.engine.execution import CancelReason, Execution, GracePeriod, close_agent
from app.engine.session_log import SessionLog
from app.observability.metrics import Observe
from app.store import agent_state, runs, sessions
from app.store.agent_input import agent_input
from app.store.commands.runs import abort_run, claim_run, save_agent_state
from app.store.database import Database
from app.store.runs import RunRow

log = logging.getLogger(__name__)


class Runner:
    """Works while the queue has something for it; its agent lives on between turns."""

    def __init__(
        self,
        session: int,
        workspace: Path,
        environment: dict[str, str],
        *,
        asking: ApprovalRules,
        database: Database,
        make_agent: Callable[[], Agent],
        run_timeout: float,
        patience: GracePeriod,
        observe: Observe,
        rested: Callable[[int], None],
        logbook: SessionLog,
    ) -> None:
        self._session = session
        self._workspace = workspace
        self._environment = environment
        self._approval_rules = asking
        self._database = database
        self._make_agent = make_agent
        self._run_timeout = run_timeout
        self._grace = patience
        self._observe = observe
        self._on_idle = rested
        self._session_log = logbook
        self._agent: Agent | None = None
        self._execution: Execution | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake_pending = False
        self._stopping: tuple[CancelReason, GracePeriod] | None = None
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look into the queue; called after each change that may have put a run at its head."""
        self._wake_pending = True
        if self._task is None and self._stopping is None:
            self._task = asyncio.create_task(self._work(), name=f"runs of session {self._session}")

    def cancel_run(self, run: int) -> None:
        """End a run as interrupted if it is the current one."""
        if self._execution and self._execution.row_id == run:
            self._execution.cancel(CancelReason.INTERRUPT)

    async def interrupt(self) -> bool:
        """Cut the current run, or the one that is just being taken up, and see it end; False if there is none."""
        execution = await self._current()
        if execution is None:
            return False
        execution.cancel(CancelReason.INTERRUPT)
        await asyncio.shield(execution.ended)
        return True

    async def stop(self, cause: CancelReason, patience: GracePeriod | None = None) -> None:
        """End the current run, take up no other, close the agent; with less patience if need be."""
        patience = patience or self._grace
        self._stopping = cause, patience
        if self._execution:
            self._execution.cancel(cause, patience)
        if self._task:
            await asyncio.wait({self._task})
        if self._agent:
            agent, self._agent = self._agent, None
            await close_agent(agent, patience.close)

    def cancel(self) -> None:
        """Give up at once, whatever is left undone."""
        if self._task:
            self._task.cancel()

    async def _current(self) -> Execution | None:
        while self._task:
            self._changed.clear()
            # The store is asked, since a client may have read there of an end that is not announced here yet.
            execution = self._execution
            if execution is not None and await self._database.read(runs.is_active, execution.row_id):
                return execution
            await self._changed.wait()
        return None

    async def _work(self) -> None:
        try:
            while self._wake_pending:
                self._wake_pending = False
                while self._stopping is None and (run := await self._claim()):
                    await self._execute(run)
            if self._stopping is None:
                self._on_idle(self._session)
        finally:
            self._task = None
            self._changed.set()

    async def _claim(self) -> RunRow | None:
        return await self._database.write_until_stored(claim_run, self._session)

    async def _execute(self, run: RunRow) -> None:
        began = time.perf_counter()
        self._execution = execution = Execution(self._database, run, self._grace)
        if self._stopping:
            execution.cancel(*self._stopping)
        self._changed.set()
        self._session_log.write(f"run {run.run_id}", "begins")
        try:
            await execution.run(self._get_agent, partial(self._turn, run), await self._limit(), self._approval_rules)
        except Exception:
            log.exception("a run could not be carried through")
            await self._database.write_until_stored(abort_run, run, INTERNAL_ERROR)
        finally:
            self._execution = None
            if execution.agent_lost:
                self._agent = None
        if ending := execution.outcome:
            self._observe("run", time.perf_counter() - began, ending.status)
            self._session_log.write(f"run {run.run_id}", ": ".join(filter(None, (ending.status, ending.error))))

    async def _limit(self) -> float:
        """Seconds that a run which begins now may take: the session's own limit, if that is the shorter one."""
        session = await self._database.read(sessions.get, self._session)
        asked = session.request.timeout_seconds if session else None
        return min(asked or self._run_timeout, self._run_timeout)

    def _get_agent(self) -> Agent:
        self._agent = self._agent or self._make_agent()
        return self._agent

    async def _turn(self, run: RunRow, ask: RequestApproval) -> Turn:
        input_ = await self._database.read_in_thread(agent_input, run)
        session = await self._database.read(sessions.get, self._session)
        tell = partial(self._session_log.write, "agent")
        return Turn(
            input=input_,
            workspace=self._workspace,
            environment=self._environment,
            log=tell,
            new_messages=len(msgspec.json.decode(run.input)["messages"]),
            request_approval=ask,
            model=session.request.model if session else None,
            saved_state=await self._database.read(agent_state.get, self._session, run.thread_id),
            save_state=partial(self._save_state, run),
        )

    async def _save_state(self, run: RunRow, memory: str) -> None:
        await self._database.write_until_stored(save_agent_state, run, memory)
