"""One run under way: the agent's events go into the log until exactly one terminal event has ended it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial

import msgspec

from app.agents.port import Agent, AgentError, RequestApproval, Turn
from app.agui.run_recorder import (
    ENDED_EARLY,
    INTERNAL_ERROR,
    PROTOCOL_ERROR,
    RUN_TIMEOUT,
    SERVER_RESTARTED,
    TOO_MANY_QUESTIONS,
    Failure,
    ProtocolError,
    RunOutcome,
    RunRecorder,
)
from app.clock import now_ms
from app.engine.approval_broker import ApprovalBroker, ApprovalRules
from app.engine.event_buffer import EventBuffer
from app.models.runs import RunStatus
from app.store.approvals import PendingApproval
from app.store.commands.runs import append_events
from app.store.database import Database
from app.store.runs import RunRow

DRAIN_SECONDS = 1.0
log = logging.getLogger(__name__)
_abandoned: set["asyncio.Task[None]"] = set()


class CancelReason(StrEnum):
    """Why a run is cut short."""

    INTERRUPT = "interrupt"
    STOP = "stop"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    QUESTIONS = "questions"


class GracePeriod(msgspec.Struct, frozen=True):
    """How many seconds an agent gets to let go of its turn, and then to close."""

    cancel: float
    close: float


DEFAULT_GRACE = GracePeriod(cancel=5.0, close=3.0)
SHUTDOWN_GRACE = GracePeriod(cancel=2.0, close=1.0)


class Execution:
    """One turn of an agent; `run` returns when the next turn may begin."""

    def __init__(self, database: Database, run: RunRow, patience: GracePeriod) -> None:
        self.row_id = run.row_id
        self.agent_lost = False
        self.ended: asyncio.Future[RunStatus | None] = asyncio.get_running_loop().create_future()
        self._database = database
        self._run = run
        self._agent: Agent | None = None
        self._recorder = RunRecorder(run.run_id, run.thread_id, run.input)
        self._buffer = EventBuffer()
        self._cancel_reason: CancelReason | None = None
        self._grace = patience
        self._received_event = False
        self._failure: Exception | None = None

    @property
    def outcome(self) -> RunOutcome | None:
        """How the run ended, once it has."""
        return self._recorder.outcome

    def cancel(self, cause: CancelReason, patience: GracePeriod | None = None) -> None:
        """End the run early, with less patience if need be; the first cause counts."""
        if self._cancel_reason is None:
            self._cancel_reason, self._grace = cause, patience or self._grace
            self._buffer.close()

    async def run(
        self,
        agent: Callable[[], Agent],
        turn: Callable[[RequestApproval], Awaitable[Turn]],
        limit: float,
        asking: ApprovalRules,
    ) -> None:
        """Drive the agent through its turn of at most `limit` seconds and store how it ended."""
        timer = asyncio.get_running_loop().call_later(limit, self.cancel, CancelReason.TIMEOUT)
        refuse = partial(self.cancel, CancelReason.QUESTIONS)
        asked = ApprovalBroker(self._database, self._run, asking, limit=limit, put=self._buffer.put, refuse=refuse)
        reader = asyncio.create_task(
            self._read(agent, partial(turn, asked.request)), name=f"agent of {self._run.run_id}"
        )
        try:
            over = await self._store_events()
            timer.cancel()
            if not over:
                await self._stop_agent(reader)
                await self._append(self._terminal_events())
            self._announce()
            await self._drain(reader)
        finally:
            timer.cancel()
            reader.cancel()
            self._announce()

    def _announce(self) -> None:
        if not self.ended.done():
            ending = self._recorder.outcome
            self.ended.set_result(ending.status if ending else None)

    async def _read(self, agent: Callable[[], Agent], turn: Callable[[], Awaitable[Turn]]) -> None:
        failure: Exception | None = None
        try:
            self._agent = agent()
            stream = self._agent.run(await turn())
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
        """Store what the agent says; True once nothing more can be said of the run."""
        while batch := await self._buffer.get_batch():
            self._received_event = True
            news: list[bytes] = []
            asked: list[PendingApproval] = []
            try:
                for said in batch:
                    told = self._recorder.record(said.event if isinstance(said, PendingApproval) else said, now_ms())
                    if told and isinstance(said, PendingApproval):
                        asked.append(said)
                    news += told
            except Exception as error:
                self._failure = error
            if not await self._append(news, asked) or self._recorder.outcome:
                return True
            if self._failure:
                return False
        self._failure = self._buffer.failure
        return False

    async def _append(self, news: list[bytes], asked: Sequence[PendingApproval] = ()) -> bool:
        """Store events, what they ask, and the run's end if they hold it; False if the run is gone or has ended."""
        if not news:
            return True
        return await self._database.write_until_stored(append_events, self._run, news, self._recorder.outcome, asked)

    async def _stop_agent(self, reader: "asyncio.Task[None]") -> None:
        """Make the agent give up its turn: ask, then close it, then leave it behind."""
        self._buffer.close()
        reader.cancel()
        if not (await asyncio.wait({reader}, timeout=self._grace.cancel))[1]:
            return
        log.warning("an agent does not let go of its turn; it is closed and left behind")
        self.agent_lost = True
        _abandon(reader)
        if self._agent:
            await close_agent(self._agent, self._grace.close)

    async def _drain(self, reader: "asyncio.Task[None]") -> None:
        """Give an agent that has said all a moment to end by itself."""
        self._buffer.discard()
        if (await asyncio.wait({reader}, timeout=DRAIN_SECONDS if self._cancel_reason is None else 0))[
            1
        ] and not self.agent_lost:
            await self._stop_agent(reader)

    def _terminal_events(self) -> list[bytes]:
        """The end of a run that its agent has not ended."""
        match self._cancel_reason or self._failure:
            case CancelReason.INTERRUPT | CancelReason.STOP:
                return self._recorder.interrupt(now_ms())
            case CancelReason.SHUTDOWN:
                failure = SERVER_RESTARTED
            case CancelReason.TIMEOUT:
                failure = RUN_TIMEOUT
            case CancelReason.QUESTIONS:
                failure = TOO_MANY_QUESTIONS
            case None:
                failure = ENDED_EARLY
            case ProtocolError():
                failure = PROTOCOL_ERROR
            case AgentError() as error:
                code = PROTOCOL_ERROR.code if self._received_event else "agent_unreachable"
                failure = Failure(code, str(error) or PROTOCOL_ERROR.message)
            case error:
                log.error("a run ended because of an internal error", exc_info=error)
                failure = INTERNAL_ERROR
        return self._recorder.fail(failure, now_ms())


async def close_agent(agent: Agent, patience: float) -> None:
    """Close an agent, waiting at most `patience` seconds; what it does after that is its own affair."""
    closing = asyncio.create_task(_close(agent), name="closing an agent")
    if (await asyncio.wait({closing}, timeout=patience))[1]:
        log.warning("an agent does not close; it is left behind")
        closing.cancel()
        _abandon(closing)


async def _close(agent: Agent) -> None:
    try:
        await agent.close()
    except Exception:
        log.exception("an agent could not be closed")


def _abandon(task: "asyncio.Task[None]") -> None:
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)
