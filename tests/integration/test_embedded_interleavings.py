"""Every interleaving of messages, interrupts, stops, starts, crashes and what agents do keeps the store's promises."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.agents.port import AgentError, Turn
from app.errors import AlreadyEnded, AlreadyRunning, NotRunning, SessionStopping
from app.types import RunStatus, SessionStatus
from tests.support.scripted import CALLER, FINAL, FINISHED, STARTED, House, asked, event, make_backend, until

T = TypeVar("T")
TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}
CLOSING = {"TEXT_MESSAGE_START": "TEXT_MESSAGE_END", "TOOL_CALL_START": "TOOL_CALL_END"}


async def agent(turn: Turn) -> AsyncIterator[bytes]:
    """Do what the message says: wait here or there, fail, end early, or be quick."""
    order = asked(turn)
    if order == "wait silently":
        await asyncio.Event().wait()
    yield STARTED
    yield event("TEXT_MESSAGE_START", messageId=turn.input["runId"], role="assistant")
    if order == "wait":
        await asyncio.Event().wait()
    if order == "fail":
        raise AgentError("The agent failed.")
    if order == "end early":
        return
    yield event("TEXT_MESSAGE_END", messageId=turn.input["runId"])
    yield FINISHED
    if order == "linger":
        await asyncio.Event().wait()


ORDERS = st.sampled_from(["quick", "wait", "wait silently", "fail", "end early", "linger"])


class OneSession(RuleBasedStateMachine):
    """One session, any steps in any order, with or without time between them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.accepted: list[str] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(order=ORDERS)
    def create(self, order: str) -> None:
        self.do(self.open())
        self.session_id = self.do(self.home.create(order))
        [task] = self.do(self.home.runs(self.session_id))
        self.accepted.append(task.run_id)

    async def open(self) -> None:
        self.home = House(make_backend(Path(self.directory.name), agent))
        await self.home.backend.open()

    @rule(order=ORDERS)
    def say(self, order: str) -> None:
        before = self.status()
        try:
            self.accepted.append(self.do(self.home.say(self.session_id, order)))
        except NotRunning:
            assert before is not SessionStatus.RUNNING

    @rule()
    def interrupt(self) -> None:
        before = {run.run_id: run.status for run in self.do(self.home.runs(self.session_id))}
        interruption = self.do(self.home.backend.interrupt_session(CALLER, self.session_id))
        assert interruption.interrupted is not None
        if interruption.interrupted is False:
            return
        after = {run.run_id: run.status for run in self.do(self.home.runs(self.session_id))}
        assert any(before[run_id] not in FINAL and after[run_id] in FINAL for run_id in before)

    @rule()
    def stop(self) -> None:
        try:
            session = self.do(self.home.backend.stop_session(CALLER, self.session_id))
            assert session.status is SessionStatus.STOPPING
        except AlreadyEnded:
            assert self.status() is SessionStatus.STOPPED

    @rule()
    def start(self) -> None:
        try:
            session = self.do(self.home.backend.start_session(CALLER, self.session_id))
            assert session.status is SessionStatus.PENDING
        except AlreadyRunning:
            assert self.status() in {SessionStatus.PENDING, SessionStatus.RUNNING}
        except SessionStopping:
            assert self.status() in {SessionStatus.STOPPING, SessionStatus.STOPPED}

    @rule(turns=st.integers(1, 200))
    def let_time_pass(self, turns: int) -> None:
        async def idle() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.do(idle())

    @rule()
    def let_it_settle(self) -> None:
        settled = {SessionStatus.RUNNING, SessionStatus.STOPPED}
        self.do(until(lambda: self.home.backend.get_session(CALLER, self.session_id), lambda s: s.status in settled))

    @rule()
    def restart(self) -> None:
        self.do(self.home.backend.close())
        self.do(self.open())

    def status(self) -> SessionStatus:
        return self.do(self.home.backend.get_session(CALLER, self.session_id)).status

    @invariant()
    def the_log_and_the_summaries_agree(self) -> None:
        if not self.accepted:
            return
        runs = {run.run_id: run for run in self.do(self.home.runs(self.session_id))}
        assert set(runs) == set(self.accepted)
        active = [run for run in runs.values() if run.status is RunStatus.RUNNING]
        assert len(active) <= 1
        log = self.do(self.home.log(self.session_id))
        ends = Counter(each["runId"] for each in log if each["type"] in TERMINAL)
        assert set(ends.values()) <= {1}
        for run in runs.values():
            # The log was read after the summaries, so it may know of an end that they do not.
            assert run.status not in FINAL or ends[run.run_id] == 1

    def teardown(self) -> None:
        try:
            if self.accepted:
                self.do(self.finish())
        finally:
            self.runner.close()
            self.directory.cleanup()

    async def finish(self) -> None:
        """Bring the session to rest: then every run but a task that never began has ended, well-formed."""
        backend = self.home.backend
        settled = {SessionStatus.RUNNING, SessionStatus.STOPPED}
        session = await until(lambda: backend.get_session(CALLER, self.session_id), lambda s: s.status in settled)
        if session.status is SessionStatus.RUNNING:
            await backend.stop_session(CALLER, self.session_id)
            await self.home.status(self.session_id, SessionStatus.STOPPED)
        for run in await self.home.runs(self.session_id):
            log = await self.home.log(self.session_id, run.run_id)
            if run.status is RunStatus.QUEUED:
                assert run.run_id == self.accepted[0]
                assert log == []
                continue
            types = [each["type"] for each in log]
            assert run.status in FINAL
            assert (types[0], types.count("RUN_STARTED")) == ("RUN_STARTED", 1)
            assert [type_ for type_ in types if type_ in TERMINAL] == [types[-1]]
            assert run.event_count == len(log)
            for opening, closing in CLOSING.items():
                assert types.count(opening) == types.count(closing)
        await backend.close()


OneSession.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOneSession = OneSession.TestCase
