"""The execution of one run: the agent's events go into the log until exactly one terminal event has ended it.

Two tasks work on a run. The *reader* iterates over the agent's turn and fills an `EventBuffer`. The runner's task, in
`Execution.run`, empties the buffer in batches, has the `RunRecorder` complete the events, and stores each batch:

    agent ── event ──▶ EventBuffer ── batch ──▶ RunRecorder ── events ──▶ append_events
       └─ the reader ─┘            └───────────────── Execution.run ───────────────────┘

A run ends in one of three ways, and in each the runner's task alone writes the end:

1. The agent sends RUN_FINISHED or RUN_ERROR. The recorder then has an outcome, and drops whatever follows. A
   RUN_FINISHED that leaves nothing open is held for a moment: a second RUN_STARTED goes on with the same run.
2. The agent ends or fails without either, or sends something that is no event. `_terminal_events` supplies the end.
3. The run is cancelled: by an interrupt, a stop, the shutdown of the server, its limit of time or bytes, or because its
   agent requests too many approvals. Cancelling only closes the buffer, with a reason, of which the first counts. The
   events that the agent sent before are stored, the agent is stopped, and `_terminal_events` supplies the end for that
   reason.

So there is never more than one terminal event: the recorder makes no event after its outcome, and `append_events`
stores nothing unless the run is active, and ends the run in the transaction that stores the terminal event. There is
never none: if `run` fails, the runner aborts the run, and if the process dies, the next start does.

To stop an agent its reader is cancelled. An agent that has not ended its turn after the grace period is closed and
abandoned: nothing that it does reaches the log any more, and the session's next run gets a new one.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import structlog

from app.agents.port import Agent, AgentError, RequestApproval, Turn
from app.agui.outcome import RunOutcome
from app.agui.run_recorder import (
    ENDED_EARLY,
    INTERNAL_ERROR,
    PROTOCOL_ERROR,
    RUN_TIMEOUT,
    RUN_TOO_LARGE,
    SERVER_RESTARTED,
    TOO_MANY_APPROVALS,
    WORKSPACE_TOO_LARGE,
    Failure,
    ProtocolError,
    RunRecorder,
)
from app.clock import now_ms
from app.engine.approval_broker import ApprovalBroker, ApprovalRules
from app.engine.config import EngineConfig, GracePeriod
from app.engine.event_buffer import CancelReason, EventBuffer
from app.models.approvals import ApprovalPolicy
from app.store.approvals import PendingApproval
from app.store.commands.runs import append_events
from app.store.database import Database
from app.store.quotas import Quotas
from app.store.runs import RunRow
from app.store.sessions import SessionRow

DRAIN_SECONDS = 1.0
log = structlog.get_logger()
_abandoned: set["asyncio.Task[None]"] = set()


class Execution:
    """One claimed run of a session; `run` returns when the session's next run may begin.

    `write_log` adds lines to the session log.
    """

    def __init__(
        self,
        database: Database,
        run: RunRow,
        session: SessionRow,
        config: EngineConfig,
        quotas: Quotas,
        *,
        write_log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.row_id = run.row_id
        self.agent_lost = False
        """Whether the agent was abandoned, so that it must not be used again."""
        self.ended = asyncio.Event()
        """Set once the end of the run is stored, or cannot be."""
        self._database = database
        self._run = run
        self._session = session
        self._quotas = quotas
        self._max_bytes: int | None = None
        self._bytes = 0  # of the log so far
        self._config = config
        self._timeout = min(session.request.timeout_seconds or config.run_timeout, config.run_timeout)
        self._recorder = RunRecorder(run.run_id, run.thread_id, run.input)
        self._buffer = EventBuffer()
        rules = ApprovalRules(
            policy=session.request.approval_policy or ApprovalPolicy.ASK,
            timeout=config.approval_timeout,
            deadline=now_ms() + round(self._timeout * 1000),
        )
        self._approvals = ApprovalBroker(database, run, self._buffer, rules, write_log)
        self._agent: Agent | None = None
        self._received_event = False
        self._end_by: float | None = None
        self._failure: Exception | None = None

    @property
    def outcome(self) -> RunOutcome | None:
        """How the run ended, once it has."""
        return self._recorder.outcome

    def cancel(self, reason: CancelReason) -> None:
        """End the run early; the first reason counts."""
        self._buffer.close(reason)

    async def run(
        self, get_agent: Callable[[], Agent], make_turn: Callable[[RequestApproval], Awaitable[Turn]]
    ) -> None:
        """Let the agent take its turn, and store its events and the end of the run."""
        self._max_bytes = (await self._quotas.room(self._session.project)).run_bytes(self._session)
        timer = asyncio.get_running_loop().call_later(self._timeout, self.cancel, CancelReason.TIMEOUT)
        reader = asyncio.create_task(self._read(get_agent, make_turn), name=f"agent of run {self._run.run_id}")
        try:
            is_over = await self._store_events()
            timer.cancel()
            if not is_over:
                await self._stop_agent(reader)
                await self._append(self._terminal_events())
            self.ended.set()
            await self._drain(reader)
        finally:
            timer.cancel()
            reader.cancel()
            self.ended.set()

    async def _read(
        self, get_agent: Callable[[], Agent], make_turn: Callable[[RequestApproval], Awaitable[Turn]]
    ) -> None:
        failure: Exception | None = None
        try:
            self._agent = get_agent()
            stream = self._agent.run(await make_turn(self._approvals.request))
            try:
                async for event in stream:
                    if not await self._buffer.put(event):
                        break
            finally:
                if isinstance(stream, AsyncGenerator):
                    await stream.aclose()
        except Exception as error:
            failure = error
        finally:
            self._buffer.finish(failure)

    async def _store_events(self) -> bool:
        """Store what the agent sends until it sends no more; return whether the run has ended or is deleted."""
        while batch := await self._next_batch():
            self._received_event = True
            events: list[bytes] = []
            pending: list[PendingApproval] = []
            try:
                for item in batch:
                    if self._is_too_large(item):
                        self.cancel(CancelReason.TOO_LARGE)
                        break
                    recorded = self._recorder.record(
                        item.event if isinstance(item, PendingApproval) else item, now_ms()
                    )
                    if recorded and isinstance(item, PendingApproval):
                        pending.append(item)
                    events += recorded
            except Exception as error:
                self._failure = error
            if not await self._append(events, pending) or self._recorder.outcome:
                return True
            if self._failure or self._buffer.cancel_reason is CancelReason.TOO_LARGE:
                return False
        if self._recorder.is_ending:
            await self._append(self._recorder.release())
            return True
        self._failure = self._buffer.failure
        return False

    async def _next_batch(self) -> list[bytes | PendingApproval]:
        """Return what the agent has sent; if it has ended its run, wait no longer than DRAIN_SECONDS for more."""
        if not self._recorder.is_ending:
            self._end_by = None
            return await self._buffer.get_batch()
        now = asyncio.get_running_loop().time()
        self._end_by = self._end_by or now + DRAIN_SECONDS
        if self._end_by <= now:
            return []
        try:
            async with asyncio.timeout_at(self._end_by):
                return await self._buffer.get_batch()
        except TimeoutError:
            return []

    def _is_too_large(self, item: bytes | PendingApproval) -> bool:
        """Count an event; return whether the log would be too large with it."""
        self._bytes += len(item.event if isinstance(item, PendingApproval) else item)
        return self._max_bytes is not None and self._bytes > self._max_bytes

    async def _append(self, events: list[bytes], pending: Sequence[PendingApproval] = ()) -> bool:
        """Store events with their approvals, and the run's end if they hold it; False if the run is not active."""
        if not events:
            return True
        return await self._database.write_until_stored(
            append_events, self._run, events, self._recorder.outcome, pending
        )

    @property
    def _grace(self) -> GracePeriod:
        return grace_period(self._config, self._buffer.cancel_reason)

    async def _stop_agent(self, reader: "asyncio.Task[None]") -> None:
        """Cancel the agent's turn; if it does not end, close the agent and abandon it."""
        self._buffer.close()
        reader.cancel()
        if not (await asyncio.wait({reader}, timeout=self._grace.cancel))[1]:
            return
        log.warning("agent_stop_timeout", run_id=self._run.run_id, grace_s=self._grace.cancel)
        self.agent_lost = True
        _abandon(reader)
        if self._agent:
            await close_agent(self._agent, self._grace.close)

    async def _drain(self, reader: "asyncio.Task[None]") -> None:
        """Give an agent whose run has ended a moment to end its turn by itself."""
        self._buffer.discard()
        timeout = DRAIN_SECONDS if self._buffer.cancel_reason is None else 0
        if (await asyncio.wait({reader}, timeout=timeout))[1] and not self.agent_lost:
            await self._stop_agent(reader)

    def _terminal_events(self) -> list[bytes]:
        """Return the end of a run that its agent has not ended."""
        match self._buffer.cancel_reason or self._failure:
            case CancelReason.INTERRUPT | CancelReason.STOP:
                return self._recorder.interrupt(now_ms())
            case CancelReason.SHUTDOWN:
                failure = SERVER_RESTARTED
            case CancelReason.TIMEOUT:
                failure = RUN_TIMEOUT
            case CancelReason.TOO_MANY_APPROVALS:
                failure = TOO_MANY_APPROVALS
            case CancelReason.TOO_LARGE:
                failure = RUN_TOO_LARGE
            case CancelReason.WORKSPACE_TOO_LARGE:
                failure = WORKSPACE_TOO_LARGE
            case None:
                failure = ENDED_EARLY
            case ProtocolError():
                failure = PROTOCOL_ERROR
            case AgentError() as error:
                code = PROTOCOL_ERROR.code if self._received_event else "agent_unreachable"
                failure = Failure(error.code or code, str(error) or PROTOCOL_ERROR.message)
            case error:
                log.error("run_internal_error", run_id=self._run.run_id, exc_info=error)
                failure = INTERNAL_ERROR
        return self._recorder.fail(failure, now_ms())


def grace_period(config: EngineConfig, reason: CancelReason | None) -> GracePeriod:
    """Return how long an agent gets to end: less when the server stops."""
    return config.shutdown_grace if reason is CancelReason.SHUTDOWN else config.grace


async def close_agent(agent: Agent, grace: float) -> None:
    """Close an agent; after `grace` seconds its closing is cancelled and no longer waited for."""
    closing = asyncio.create_task(_close(agent), name="closing an agent")
    if (await asyncio.wait({closing}, timeout=grace))[1]:
        log.warning("agent_close_timeout", grace_s=grace)
        closing.cancel()
        _abandon(closing)


async def _close(agent: Agent) -> None:
    try:
        await agent.close()
    except Exception:
        log.exception("agent_close_failed")


def _abandon(task: "asyncio.Task[None]") -> None:
    """Wait for a task no longer, but hold a reference until it ends: the event loop holds none."""
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)
