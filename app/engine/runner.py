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
from pathlib import Path

import msgspec
import structlog

from app.agents.port import Agent, AgentError, RequestApproval, Turn
from app.agui.run_recorder import INTERNAL_ERROR
from app.engine.config import EngineConfig
from app.engine.disk_quota import DiskQuota
from app.engine.event_buffer import CancelReason
from app.engine.execution import Execution, close_agent, grace_period
from app.engine.expirations import Expirations
from app.engine.idle import IdleSessions
from app.engine.session_log import SessionLog, SessionLogs
from app.engine.session_secrets import SecretsError
from app.errors import ApiError, StorageUnavailable
from app.models.agents import AgentOffer
from app.models.approvals import ApprovalStatus
from app.observability.metrics import Observe
from app.store import agent_state, approvals, runs, sessions
from app.store.agent_input import agent_input
from app.store.commands.runs import abort_run, claim_run, save_agent_state
from app.store.commands.runs import note_offer as note_offer_of
from app.store.database import Database
from app.store.leases import LeaseLost, SessionGone
from app.store.quotas import Quotas
from app.store.runs import RunRow
from app.store.sessions import SessionRow
from app.workspace_paths import parse_path
from app.workspaces.local import find_worktree

CLOSE_SECONDS = 4.0
_DENIALS = {ApprovalStatus.DENIED: "a client denied it", ApprovalStatus.EXPIRED: "nobody has decided in time"}
log = structlog.get_logger()


class Runner:
    """Runs the queue of one session, one run after another; `session` is its row id."""

    def __init__(
        self,
        session: int,
        database: Database,
        config: EngineConfig,
        quotas: Quotas,
        observe: Observe,
        *,
        session_logs: SessionLogs,
        idle_sessions: IdleSessions | None,
        expirations: Expirations | None,
    ) -> None:
        self._session = session
        self._database = database
        self._config = config
        self._quotas = quotas
        self._session_logs = session_logs
        self._observe = observe
        self._idle_sessions = idle_sessions
        self._expirations = expirations
        self._agent: Agent | None = None
        self._disk = DiskQuota(database, config, quotas)
        self._disk_watch: asyncio.Task[None] | None = None
        self._has_run = asyncio.Event()
        self._noted: AgentOffer | None = None
        self._execution: Execution | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake_pending = False
        self._may_claim = True
        self._stop_reason: CancelReason | None = None
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look into the queue; to be called after each change that may have put a run at its head."""
        self._wake_pending = True
        if self._task is None and self._may_claim:
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
        self.claim_no_more()
        if self._disk_watch:
            self._disk_watch.cancel()
        if self._execution:
            self._execution.cancel(reason)
        if self._task:
            await asyncio.wait({self._task})
        await self._close_agent(reason)

    def claim_no_more(self) -> None:
        """Let the current run be the last."""
        self._may_claim = False

    async def _close_agent(self, reason: CancelReason) -> None:
        if self._agent:
            agent, self._agent = self._agent, None
            await close_agent(agent, grace_period(self._config, reason).close)

    @property
    def is_busy(self) -> bool:
        """Whether it looks into the queue or executes a run."""
        return self._task is not None

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
                while self._may_claim and (
                    claimed := await self._database.write_until_stored(claim_run, self._session)
                ):
                    await self._execute(*claimed)
                if self._idle_sessions and self._may_claim:
                    await self._idle_sessions.watch(self._session)
        except SessionGone:
            pass
        except LeaseLost:
            log.warning("lease_lost", session=self._session)
        finally:
            self._task = None
            self._changed.set()

    async def _execute(self, run: RunRow, session: SessionRow) -> None:
        began = time.perf_counter()
        session_log = self._session_logs.of(session)

        def write_log(line: str) -> None:
            session_log.write(f"run {run.run_id}", line)

        self._execution = execution = Execution(
            self._database, run, session, self._config, self._quotas, write_log=write_log
        )
        if self._stop_reason:
            execution.cancel(self._stop_reason)
        elif self._disk_watch is None:
            watch = self._disk.watch(session, self._end_for_space, self._has_run)
            self._disk_watch = asyncio.create_task(watch)
        self._has_run.set()
        self._changed.set()
        write_log("begins")

        async def make_turn(request_approval: RequestApproval) -> Turn:
            for approval in await self._database.read(approvals.continued_by, self._session, run.run_id):
                if approval.status is not ApprovalStatus.ALLOWED:
                    wanted = approval.request.message or approval.request.tool_name or "a request"
                    write_log(f"denied {wanted}: {_DENIALS.get(approval.status, 'the run was continued without it')}")
            return await self._turn(run, session, session_log, request_approval)

        try:
            await execution.run(lambda: self._get_agent(session), make_turn)
        except LeaseLost:
            raise
        except Exception:
            log.exception("run_failed", run_id=run.run_id)
            await self._database.write_until_stored(abort_run, run, INTERNAL_ERROR)
        finally:
            self._execution = None
            self._has_run.clear()
            if execution.agent_lost:
                self._agent = None
        if outcome := execution.outcome:
            if outcome.interrupts and self._expirations:
                self._expirations.watch(self._session)
            self._observe("run", time.perf_counter() - began, outcome.status)
            address = self._config.agents.address(session.request.agent) if outcome.error else ""
            write_log(": ".join(filter(None, (outcome.status, outcome.error))) + (f" ({address})" if address else ""))
        if current := await self._database.read(sessions.get, self._session):
            await self._disk.measure(current)

    async def _end_for_space(self) -> None:
        """End the current run and the agent, whose session takes too much of the disk."""
        reason = CancelReason.WORKSPACE_TOO_LARGE
        if execution := self._execution:
            execution.cancel(reason)
            await execution.ended.wait()
        await self._close_agent(reason)

    def _variables(self, session: SessionRow) -> dict[str, str]:
        try:
            return self._config.secrets.whole(session).environment_variables or {}
        except SecretsError as error:
            raise AgentError(str(error)) from error

    def _get_agent(self, session: SessionRow) -> Agent:
        self._agent = self._agent or self._config.agents.make(session.request.agent)
        return self._agent

    async def _turn(
        self, run: RunRow, session: SessionRow, session_log: SessionLog, request_approval: RequestApproval
    ) -> Turn:
        async def save_state(state: str) -> None:
            await self._database.write_until_stored(save_agent_state, run, state)

        async def note_offer(offer: AgentOffer) -> None:
            key = self._config.agents.key(session.request.agent or self._config.agents.default)
            if key and (offer != self._noted or (session.model, session.mode) != (offer.model, offer.mode)):
                await self._database.write_until_stored(note_offer_of, run, key, offer)
                self._noted = offer

        async def read_file(path: str) -> bytes | None:
            try:
                return await workspace.read_whole(parse_path(path), self._config.max_attachments)
            except ApiError:
                return None

        workspace = self._config.opened(session)
        worktree = await asyncio.to_thread(find_worktree, self._config.workspace_data(session))
        return Turn(
            input=await self._database.read_in_thread(agent_input, run),
            workspace=workspace.root,
            read_file=read_file,
            max_attachments=self._config.max_attachments,
            writable=worktree.writable if worktree else (),
            readable=[Path(worktree.common_directory)] if worktree else (),
            home=self._config.home(session),
            environment=self._variables(session),
            log=lambda text: session_log.write("agent", text),
            new_messages=len(msgspec.json.decode(run.input)["messages"]),
            request_approval=request_approval,
            model=session.request.model,
            mode=session.request.mode,
            note_offer=note_offer,
            saved_state=await self._database.read(agent_state.get, self._session, run.thread_id),
            save_state=save_state,
        )


class RunnerPool:
    """The runners of all sessions that have had something to do since the start, by the sessions' row ids."""

    def __init__(
        self,
        database: Database,
        config: EngineConfig,
        quotas: Quotas,
        observe: Observe,
        idle_sessions: IdleSessions | None,
        *,
        session_logs: SessionLogs,
        watches_expirations: bool = True,
    ) -> None:
        self._database = database
        self._config = config
        self._quotas = quotas
        self._session_logs = session_logs
        self._observe = observe
        self._idle_sessions = idle_sessions
        self._expirations = Expirations(database, self.wake) if watches_expirations else None
        self._runners: dict[int, Runner] = {}
        self._may_claim = True

    def wake(self, session: int) -> None:
        """Run what is queued in a session; nothing once the server stops."""
        if not self._may_claim:
            return
        if session not in self._runners:
            self._runners[session] = Runner(
                session,
                self._database,
                self._config,
                self._quotas,
                self._observe,
                session_logs=self._session_logs,
                idle_sessions=self._idle_sessions,
                expirations=self._expirations,
            )
        self._runners[session].wake()

    def watch_expirations(self, session: int) -> None:
        """Deny the pending interrupts of a session when they expire."""
        if self._expirations:
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
        if self._expirations:
            self._expirations.forget(session)
        await self._end(session, CancelReason.STOP)

    async def release(self, session: int) -> None:
        """End the session's current run without an end in the log, if another worker has it, and close its agent."""
        await self._end(session, CancelReason.SHUTDOWN)

    def is_busy(self, session: int) -> bool:
        """Return whether the session's runner is at work."""
        runner = self._runners.get(session)
        return runner is not None and runner.is_busy

    async def _end(self, session: int, reason: CancelReason) -> None:
        if runner := self._runners.get(session):
            await runner.stop(reason)
            self._runners.pop(session, None)

    def claim_no_more(self) -> None:
        """Let the current runs be the last."""
        self._may_claim = False
        for runner in self._runners.values():
            runner.claim_no_more()

    async def close(self) -> None:
        """End all current runs because the server stops, within CLOSE_SECONDS; queued runs stay queued."""
        self.claim_no_more()
        if self._expirations:
            self._expirations.close()
        stops = [asyncio.create_task(runner.stop(CancelReason.SHUTDOWN)) for runner in self._runners.values()]
        if stops:
            _, late = await asyncio.wait(stops, timeout=CLOSE_SECONDS)
            for runner in self._runners.values():
                runner.abandon()
            for stop in late:
                stop.cancel()
        self._runners.clear()
