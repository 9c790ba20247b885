"""The store's promises hold in every interleaving of requests, agents' behaviour and crashes."""

import asyncio
import contextlib
import operator
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from sqlalchemy import Connection, text

from app.agents.port import AgentError, Turn
from app.errors import (
    AlreadyEnded,
    AlreadyRunning,
    ApprovalClosed,
    NotRunning,
    RunActive,
    RunEnded,
    SessionBusy,
    SessionNotFound,
    SessionStopping,
)
from app.models.approvals import ApprovalAnswer, ApprovalRequest, Decision
from app.models.runs import MessageCreate, OnBusy, RunStatus
from app.models.sessions import SessionStatus
from app.store import deletions
from tests.support.scripted import CALLER, FINAL, FINISHED, STARTED, Harness, event, last_message, make_backend, until
from tests.support.store import ON_POSTGRESQL, copy_store

T = TypeVar("T")
TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}
CLOSING = {"TEXT_MESSAGE_START": "TEXT_MESSAGE_END", "TOOL_CALL_START": "TOOL_CALL_END"}
SETTLED = {SessionStatus.RUNNING, SessionStatus.STOPPED}
ORDERS = st.sampled_from(["quick", "wait", "wait silently", "fail", "end early", "linger", "ask"])
ORPHANS = """
    SELECT count(*) FROM approvals JOIN runs ON run = runs.row_id
    WHERE interrupt_id IS NULL AND approvals.status = 'pending' AND runs.status != 'running'
"""
GAPS = """
    SELECT count(*) FROM sessions
    LEFT JOIN (SELECT session, count(*) AS n, min(position) AS low, max(position) AS high FROM events GROUP BY session)
    ON session = row_id
    WHERE last_position != coalesce(n, 0) OR (n > 0 AND (low != 1 OR high != n))
"""


class Sessions(RuleBasedStateMachine):
    """A few sessions, any steps in any order, with or without time between them; at most two run, or all."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.crashes = 0
        self.accepted: dict[str, list[str]] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(bound=st.sampled_from([None, 2]))
    def begin(self, bound: int | None) -> None:
        self.bound = bound
        self.do(self.open())

    async def open(self) -> None:
        self.gate = asyncio.Event()
        self.harness = Harness(make_backend(self.store, self.agent, max_running=self.bound))
        await self.harness.backend.open()

    @property
    def store(self) -> Path:
        return self.directory / str(self.crashes)

    async def agent(self, turn: Turn) -> AsyncIterator[bytes]:
        """Do what the message says: wait here or there, ask, fail, end early, or be quick."""
        order, gate = last_message(turn), self.gate
        if order == "wait silently":
            await gate.wait()
        yield STARTED
        yield event("TEXT_MESSAGE_START", messageId=turn.input["runId"], role="assistant")
        if order == "wait":
            await gate.wait()
        if order == "ask":
            await turn.request_approval(ApprovalRequest(message="May I?"))
        if order == "fail":
            raise AgentError("The agent failed.")
        if order == "end early":
            return
        yield event("TEXT_MESSAGE_END", messageId=turn.input["runId"])
        yield FINISHED
        if order == "linger":
            await gate.wait()

    # Requests of clients

    @precondition(lambda self: len(self.accepted) < 3)
    @rule(target=sessions, order=ORDERS, settle=st.booleans())
    def create(self, order: str, settle: bool) -> str:
        session_id = self.do(self.harness.create(order))
        [task] = self.do(self.harness.runs(session_id))
        self.accepted[session_id] = [task.run_id]
        if settle:
            self.let_it_settle(session_id)
        return session_id

    @rule(session_id=sessions, order=ORDERS, on_busy=st.sampled_from(OnBusy))
    def say(self, session_id: str, order: str, on_busy: OnBusy) -> None:
        before, busy = self.status(session_id), self.unfinished(session_id)
        message = MessageCreate(content=order, on_busy=on_busy)
        try:
            run = self.do(self.harness.backend.runs.send_message(CALLER, session_id, message)).value
        except NotRunning:
            assert before is not SessionStatus.RUNNING
        except SessionBusy:
            assert busy
            assert on_busy is OnBusy.REJECT
        else:
            self.accepted[session_id].append(run.run_id)
            assert on_busy is not OnBusy.REJECT or self.unfinished(session_id) <= {run.run_id}

    @rule(session_id=sessions, number=st.integers(0, 20))
    def cancel(self, session_id: str, number: int) -> None:
        run_id = self.accepted[session_id][number % len(self.accepted[session_id])]
        before = self.do(self.harness.run(session_id, run_id)).status
        try:
            self.do(self.harness.backend.runs.cancel_run(CALLER, session_id, run_id))
        except RunEnded:
            assert self.do(self.harness.run(session_id, run_id)).status in FINAL
        except RunActive:
            assert before in {RunStatus.QUEUED, RunStatus.RUNNING}
        else:
            assert before is RunStatus.QUEUED
            assert self.do(self.harness.run(session_id, run_id)).status is RunStatus.INTERRUPTED

    @rule(session_id=sessions, decision=st.sampled_from(Decision))
    def answer(self, session_id: str, decision: Decision) -> None:
        answer = ApprovalAnswer(decision=decision)
        for approval in self.do(self.harness.backend.runs.list_approvals(CALLER, session_id)).items:
            with contextlib.suppress(ApprovalClosed, NotRunning):
                self.do(self.harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer))
                with contextlib.suppress(ApprovalClosed, NotRunning):
                    self.do(self.harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer))
                    raise AssertionError("answered twice")

    @rule(session_id=sessions)
    def interrupt(self, session_id: str) -> None:
        before = self.unfinished(session_id)
        interruption = self.do(self.harness.backend.runs.interrupt_session(CALLER, session_id))
        assert interruption.interrupted is not None
        if interruption.interrupted:
            assert before - self.unfinished(session_id)

    @rule(session_id=sessions)
    def stop(self, session_id: str) -> None:
        try:
            session = self.do(self.harness.backend.sessions.stop_session(CALLER, session_id))
            assert session.status is SessionStatus.STOPPING
        except AlreadyEnded:
            assert self.status(session_id) is SessionStatus.STOPPED

    @rule(session_id=sessions)
    def start(self, session_id: str) -> None:
        try:
            session = self.do(self.harness.backend.sessions.start_session(CALLER, session_id))
            assert session.status is SessionStatus.PENDING
        except AlreadyRunning:
            assert self.status(session_id) in {SessionStatus.PENDING, SessionStatus.RUNNING}
        except SessionStopping:
            assert self.status(session_id) in {SessionStatus.STOPPING, SessionStatus.STOPPED}

    @rule(session_id=consumes(sessions))
    def delete(self, session_id: str) -> None:
        self.do(self.harness.backend.sessions.delete_session(CALLER, session_id))
        del self.accepted[session_id]
        with contextlib.suppress(SessionNotFound):
            raise AssertionError(self.status(session_id))
        workspace = self.store / "workspaces" / CALLER.project / session_id
        self.do(until(lambda: asyncio.to_thread(workspace.exists), operator.not_))

    # Agents and crashes

    @rule()
    def let_agents_go_on(self) -> None:
        self.gate.set()
        self.gate = asyncio.Event()

    @rule(turns=st.integers(1, 200))
    def let_time_pass(self, turns: int) -> None:
        async def idle() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.do(idle())

    @rule(session_id=sessions)
    def see_it_settle(self, session_id: str) -> None:
        self.let_it_settle(session_id)

    def let_it_settle(self, session_id: str) -> None:
        async def settled() -> bool:
            running = await self.harness.backend.sessions.list_sessions(
                CALLER, limit=100, offset=0, search=None, status=[SessionStatus.RUNNING], label=()
            )
            session = await self.harness.backend.sessions.get_session(CALLER, session_id)
            return session.status in SETTLED or running.total == self.bound

        self.do(until(settled))

    @rule()
    def restart(self) -> None:
        self.do(self.harness.backend.close())
        self.do(self.open())

    @rule()
    def crash(self) -> None:
        """Go on from the store as it is at this moment, whatever the server still wants to write."""
        before, crashed = self.store, self.harness.backend
        self.crashes += 1
        self.store.mkdir()
        copy_store(before / "store.db", self.store / "store.db")
        for directory in ("workspaces", "workers"):
            if (before / directory).exists():
                shutil.copytree(before / directory, self.store / directory, dirs_exist_ok=True)
        if (before / "disk-id").exists():
            shutil.copy(before / "disk-id", self.store)
        self.do(crashed.close())
        self.do(self.open())

    # Invariants

    @invariant()
    def every_accepted_run_is_there_and_none_has_two_ends(self) -> None:
        for session_id, accepted in self.accepted.items():
            runs = {run.run_id: run for run in self.do(self.harness.runs(session_id))}
            assert sorted(runs) == sorted(accepted)
            assert len([run for run in runs.values() if run.status is RunStatus.RUNNING]) <= 1
            log = self.do(self.harness.log(session_id))
            ends = Counter(each["runId"] for each in log if each["type"] in TERMINAL)
            assert set(ends.values()) <= {1}
            for run in runs.values():
                # The log was read after the summaries, so it may know of an end that they do not.
                assert run.status not in FINAL or ends[run.run_id] == 1

    @invariant()
    def positions_have_no_gaps_no_approval_outlives_its_run_and_no_more_sessions_run_than_may(self) -> None:
        if not hasattr(self, "harness"):
            return
        database = self.harness.backend._database
        for nothing in (GAPS, ORPHANS):
            assert self.do(database.read(scalar, nothing)) == 0
        assert self.bound is None or self.do(self.harness.backend.running_sessions()) <= self.bound
        assert {self.status(session_id) for session_id in self.accepted} <= {
            *SETTLED,
            SessionStatus.PENDING,
            SessionStatus.STOPPING,
        }

    def status(self, session_id: str) -> SessionStatus:
        return self.do(self.harness.backend.sessions.get_session(CALLER, session_id)).status

    def unfinished(self, session_id: str) -> set[str]:
        return {run.run_id for run in self.do(self.harness.runs(session_id)) if run.status not in FINAL}

    # The end

    def teardown(self) -> None:
        try:
            if hasattr(self, "harness"):
                self.do(self.finish())
        finally:
            self.runner.close()
            shutil.rmtree(self.directory)

    async def finish(self) -> None:
        """Stop all sessions: then every run but a task that never began has ended, well-formed."""
        backend = self.harness.backend
        for session_id in self.accepted:
            with contextlib.suppress(AlreadyEnded):
                await backend.sessions.stop_session(CALLER, session_id)
            await self.harness.status(session_id, SessionStatus.STOPPED)
            for run in await self.harness.runs(session_id):
                if run.status is RunStatus.QUEUED:
                    assert run.run_id == self.accepted[session_id][0]
                    assert await self.harness.log(session_id, run.run_id) == []
                else:
                    assert run.status in FINAL
                    log = await self.harness.log(session_id, run.run_id)
                    self.check_log([each["type"] for each in log], run.event_count)
                    self.check_approvals([each for each in log if each["type"] == "CUSTOM"])
        await until(lambda: backend._database.read(deletions.pending), lambda left: left == [])
        await backend.close()

    def check_approvals(self, custom: list[dict[str, Any]]) -> None:
        assert [each["name"] for each in custom] in ([], ["approval.requested", "approval.resolved"])
        assert len({each["value"]["id"] for each in custom}) <= 1

    def check_log(self, types: list[str], count: int) -> None:
        assert (types[0], types.count("RUN_STARTED"), len(types)) == ("RUN_STARTED", 1, count)
        assert [type_ for type_ in types if type_ in TERMINAL] == [types[-1]]
        for opening, closing in CLOSING.items():
            assert types.count(opening) == types.count(closing)


def scalar(connection: Connection, query: str) -> Any:
    return connection.execute(text(query)).scalar()


Sessions.TestCase.settings = settings(
    max_examples=8 if ON_POSTGRESQL else 15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSessions = Sessions.TestCase
