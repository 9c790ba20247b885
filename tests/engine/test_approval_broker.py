"""Approvals within a turn: every way in which one can end, and every bound on them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from app.agents.port import Turn
from app.clock import millis
from app.engine import approval_broker, idle
from app.engine.cluster import reaper
from app.errors import ApprovalClosed, ApprovalNotFound, BadRequest, SessionNotFound
from app.models.approvals import (
    Approval,
    ApprovalAnswer,
    ApprovalDecision,
    ApprovalOption,
    ApprovalPolicy,
    ApprovalRequest,
    Decision,
)
from app.models.runs import RunStatus
from app.models.sessions import SessionStatus
from app.store.commands.sessions import stop_if_idle
from app.store.sessions import SessionRow
from tests.support.scripted import CALLER, FINISHED, STARTED, Harness, event, open_backend, until

ALLOW, DENY = ApprovalAnswer(decision=Decision.ALLOW), ApprovalAnswer(decision=Decision.DENY)
OPTIONS = [
    ApprovalOption(id="always", name="Always", kind="allow_always"),
    ApprovalOption(id="once", name="Once", kind="allow_once"),
    ApprovalOption(id="never", name="Never", kind="reject_always"),
    ApprovalOption(id="no", name="No", kind="reject_once"),
]
REQUEST = ApprovalRequest(message="Delete a", tool_name="delete", args={"path": "a"}, options=OPTIONS)
Play = Callable[[Turn], AsyncIterator[bytes]]


def requesting(*requests: ApprovalRequest) -> Play:
    """Return an agent that requests these approvals at once, within its turn, and sends the decisions as events."""

    async def play(turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield event("CUSTOM", name="before", value=1)
        for decision in await asyncio.gather(*map(turn.request_approval, requests)):
            yield event("CUSTOM", name="decision", value={"allowed": decision.allowed, "option_id": decision.option_id})
        yield FINISHED

    return play


async def waiting(harness: Harness, session_id: str, count: int = 1) -> list[Approval]:
    """Return the open approvals once there are so many."""

    async def listed() -> list[Approval]:
        return (await harness.backend.runs.list_approvals(CALLER, session_id)).items

    return await until(listed, lambda items: len(items) == count)


async def open_approval(harness: Harness, **fields: Any) -> tuple[str, Approval]:
    """Return a new session and the approval that its first run requests."""
    session_id = await harness.create(**fields)
    [approval] = await waiting(harness, session_id)
    return session_id, approval


async def custom(harness: Harness, session_id: str) -> list[tuple[str, Any]]:
    return [(each["name"], each["value"]) for each in await harness.log(session_id) if each["type"] == "CUSTOM"]


async def ended(harness: Harness, session_id: str) -> tuple[RunStatus, list[Any]]:
    """Return how the only run ended, and the decisions that its agent got."""
    [run] = await harness.runs(session_id)
    run = await harness.ended(session_id, run.run_id)
    return run.status, [value for name, value in await custom(harness, session_id) if name == "decision"]


async def assert_expired(harness: Harness, session_id: str, approval_id: str) -> None:
    """Check that the approval is closed without a decision, and that the log says so before the end of the run."""
    assert (await harness.backend.runs.list_approvals(CALLER, session_id)).items == []
    assert (await harness.backend.sessions.get_session(CALLER, session_id)).waiting_for is None
    with pytest.raises(ApprovalClosed):
        await harness.backend.runs.answer_approval(CALLER, session_id, approval_id, ALLOW)
    log = await harness.log(session_id)
    assert (log[-2]["name"], log[-2]["value"]) == ("approval.resolved", {"id": approval_id, "status": "expired"})
    assert log[-1]["type"] in {"RUN_FINISHED", "RUN_ERROR"}


class TestDecisions:
    async def test_an_approval_is_shown_as_the_agent_requests_it(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            [run] = await harness.runs(session_id)
            assert (approval.run_id, run.status) == (run.run_id, RunStatus.RUNNING)
            assert (approval.message, approval.tool_name, approval.args) == ("Delete a", "delete", {"path": "a"})
            assert approval.options == OPTIONS
            session = await harness.backend.sessions.get_session(CALLER, session_id)
            assert session.waiting_for
            assert session.waiting_for.approvals == [approval.id]
            names = [name for name, _ in await custom(harness, session_id)]
            assert names == ["before", "approval.requested"]
            shown = dict(await custom(harness, session_id))["approval.requested"]
            assert (shown["id"], shown["expires_at"]) == (approval.id, approval.expires_at)

    @pytest.mark.parametrize(
        ("answer", "status", "option"),
        [
            (ALLOW, "allowed", "once"),
            (DENY, "denied", "no"),
            (ApprovalAnswer(decision=Decision.ALLOW, payload={"option_id": "always"}), "allowed", "always"),
            (ApprovalAnswer(decision=Decision.DENY, payload={"option_id": "never"}), "denied", "never"),
        ],
    )
    async def test_the_run_continues_with_the_decision(
        self, tmp_path: Path, answer: ApprovalAnswer, status: str, option: str
    ) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            answered = await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)
            assert answered.status == status
            decision = {"allowed": status == "allowed", "option_id": option}
            assert await ended(harness, session_id) == (RunStatus.COMPLETED, [decision])
            resolved = dict(await custom(harness, session_id))["approval.resolved"]
            assert resolved == {"id": approval.id, "status": status, "option_id": option}
            with pytest.raises(ApprovalClosed):
                await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)

    @pytest.mark.parametrize(
        ("answer", "location"),
        [
            (ApprovalAnswer(decision=Decision.ALLOW, payload={"option_id": "other"}), "body.payload.option_id"),
            (ApprovalAnswer(decision=Decision.ALLOW, payload={"option_id": "no"}), "body.payload.option_id"),
            (ApprovalAnswer(decision=Decision.DENY, payload={"option_id": "once"}), "body.payload.option_id"),
            (ApprovalAnswer(decision=Decision.DENY, payload={"option_id": 7}), "body.payload.option_id"),
            (ApprovalAnswer(decision=Decision.ALLOW, payload={"comment": "x"}), "body.payload"),
        ],
    )
    async def test_a_decision_that_does_not_fit_is_refused_and_the_approval_stays_open(
        self, tmp_path: Path, answer: ApprovalAnswer, location: str
    ) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            with pytest.raises(BadRequest) as refused:
                await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)
            assert [detail.location for detail in refused.value.details] == [location]
            assert await waiting(harness, session_id) == [approval]

    async def test_a_decision_that_the_agent_does_not_offer_is_refused(self, tmp_path: Path) -> None:
        requests = (
            ApprovalRequest(message="1", options=OPTIONS[2:]),
            ApprovalRequest(message="2", options=[]),
            ApprovalRequest(message="3"),
        )
        async with open_backend(tmp_path, requesting(*requests)) as harness:
            session_id = await harness.create()
            refusing, silent, plain = sorted(await waiting(harness, session_id, 3), key=attrgetter("message"))
            for approval in (refusing, silent):
                with pytest.raises(BadRequest) as refused:
                    await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, ALLOW)
                assert [detail.location for detail in refused.value.details] == ["body.decision"]
            for approval, answer in ((refusing, DENY), (silent, DENY), (plain, ALLOW)):
                await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)
            decision = [
                {"allowed": False, "option_id": "no"},
                {"allowed": False, "option_id": None},
                {"allowed": True, "option_id": None},
            ]
            assert await ended(harness, session_id) == (RunStatus.COMPLETED, decision)

    async def test_one_of_many_decisions_at_once_wins(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            answers = [
                harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)
                for answer in (ALLOW, DENY) * 8
            ]
            results = await asyncio.gather(*answers, return_exceptions=True)
            [won] = [result for result in results if isinstance(result, Approval)]
            assert sum(isinstance(result, ApprovalClosed) for result in results) == len(results) - 1
            _, [decision] = await ended(harness, session_id)
            assert decision["allowed"] is (won.status == "allowed")

    @pytest.mark.parametrize("seconds", [0.05, 0.0])  # seconds; the latter is over before the approval is stored
    async def test_an_approval_that_nobody_decides_in_time_is_denied(self, tmp_path: Path, seconds: float) -> None:
        async with open_backend(tmp_path, requesting(REQUEST), approval_timeout=seconds) as harness:
            session_id = await harness.create()
            await harness.status(session_id, SessionStatus.RUNNING)
            decision = {"allowed": False, "option_id": "no"}
            assert await ended(harness, session_id) == (RunStatus.COMPLETED, [decision])
            events = dict(await custom(harness, session_id))
            approval_id = events["approval.requested"]["id"]
            assert events["approval.resolved"] == {"id": approval_id, "status": "expired"}
            with pytest.raises(ApprovalClosed):
                await harness.backend.runs.answer_approval(CALLER, session_id, approval_id, ALLOW)

    @pytest.mark.parametrize(("policy", "option"), [(ApprovalPolicy.ALLOW, "once"), (ApprovalPolicy.DENY, "no")])
    async def test_a_policy_decides_at_once(self, tmp_path: Path, policy: ApprovalPolicy, option: str) -> None:
        async with open_backend(tmp_path, requesting(REQUEST, ApprovalRequest())) as harness:
            session_id = await harness.create(approval_policy=policy)
            await harness.status(session_id, SessionStatus.RUNNING)
            allowed = policy is ApprovalPolicy.ALLOW
            decision = [{"allowed": allowed, "option_id": option}, {"allowed": allowed, "option_id": None}]
            assert await ended(harness, session_id) == (RunStatus.COMPLETED, decision)
            assert {name for name, _ in await custom(harness, session_id)} == {"before", "decision"}


class TestEndsOfRuns:
    async def test_an_interrupt_closes_the_approval(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            assert (await harness.backend.runs.interrupt_session(CALLER, session_id)).interrupted
            await assert_expired(harness, session_id, approval.id)
            assert await ended(harness, session_id) == (RunStatus.INTERRUPTED, [])

    async def test_a_stop_closes_the_approval(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            await harness.backend.sessions.stop_session(CALLER, session_id)
            await harness.status(session_id, SessionStatus.STOPPED)
            await assert_expired(harness, session_id, approval.id)

    async def test_a_deletion_removes_the_approval(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
            other, _ = await open_approval(harness)
            with pytest.raises(ApprovalNotFound):
                await harness.backend.runs.answer_approval(CALLER, other, approval.id, ALLOW)
            await harness.backend.sessions.delete_session(CALLER, session_id)
            with pytest.raises(SessionNotFound):
                await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, ALLOW)

    async def test_the_time_limit_of_the_run_applies_while_it_waits(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST), run_timeout=2) as harness:
            session_id = await harness.create()
            await harness.status(session_id, SessionStatus.RUNNING)
            assert await ended(harness, session_id) == (RunStatus.ERROR, [])
            assert (await harness.log(session_id))[-1]["code"] == "run_timeout"
            approval = dict(await custom(harness, session_id))["approval.requested"]
            assert (millis(approval["expires_at"]) or 0) <= (millis(approval["created_at"]) or 0) + 2000
            await assert_expired(harness, session_id, approval["id"])

    async def test_an_agent_that_ends_its_run_closes_its_open_approval(self, tmp_path: Path) -> None:
        async def play(turn: Turn) -> AsyncIterator[bytes]:
            yield STARTED
            request = asyncio.ensure_future(turn.request_approval(REQUEST))
            await seen.wait()
            yield FINISHED
            request.cancel()

        seen = asyncio.Event()

        async with open_backend(tmp_path, play) as harness:
            session_id, approval = await open_approval(harness)
            seen.set()
            assert await ended(harness, session_id) == (RunStatus.COMPLETED, [])
            await assert_expired(harness, session_id, approval.id)

    async def test_a_shutdown_closes_the_approval(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, requesting(REQUEST)) as harness:
            session_id, approval = await open_approval(harness)
        async with open_backend(tmp_path) as harness:
            assert (await harness.log(session_id))[-1]["code"] == "server_restarted"
            await assert_expired(harness, session_id, approval.id)


class TestBounds:
    async def test_a_run_that_requests_too_many_approvals_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decisions: list[ApprovalDecision] = []

        async def play(turn: Turn) -> AsyncIterator[bytes]:
            yield STARTED
            while True:
                decisions.append(await turn.request_approval(REQUEST))
                await asyncio.sleep(0)

        monkeypatch.setattr(approval_broker, "MAX_APPROVALS", 5)
        async with open_backend(tmp_path, play) as harness:
            session_id = await harness.create(approval_policy=ApprovalPolicy.ALLOW)
            await harness.status(session_id, SessionStatus.RUNNING)
            assert await ended(harness, session_id) == (RunStatus.ERROR, [])
            end = (await harness.log(session_id))[-1]
            assert (end["code"], end["message"]) == (
                "too_many_questions",
                "The agent requested more approvals than it may in one run.",
            )
        assert [decision.allowed for decision in decisions[:6]] == [True] * 5 + [False]

    @pytest.mark.parametrize(
        "args", ["x" * approval_broker.MAX_APPROVAL_BYTES, json.loads("[" * 101 + "]" * 101)], ids=["large", "deep"]
    )
    async def test_an_approval_that_cannot_be_shown_ends_the_run(self, tmp_path: Path, args: Any) -> None:
        async with open_backend(tmp_path, requesting(ApprovalRequest(args=args))) as harness:
            session_id = await harness.create()
            await harness.status(session_id, SessionStatus.RUNNING)
            assert await ended(harness, session_id) == (RunStatus.ERROR, [])
            assert (await harness.log(session_id))[-1]["code"] == "too_many_questions"

    async def test_only_so_many_approvals_are_open_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(approval_broker, "MAX_WAITING", 2)
        async with open_backend(
            tmp_path, requesting(*[ApprovalRequest(message=str(number)) for number in range(3)])
        ) as harness:
            session_id = await harness.create()
            first, _ = await waiting(harness, session_id, 2)
            await harness.backend.runs.answer_approval(CALLER, session_id, first.id, ALLOW)
            for approval in await until(
                lambda: waiting(harness, session_id, 2), lambda items: all(each.id != first.id for each in items)
            ):
                await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, ALLOW)
            assert (await ended(harness, session_id))[0] is RunStatus.COMPLETED

    async def test_a_session_that_waits_for_a_decision_is_not_idle(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def play(turn: Turn) -> AsyncIterator[bytes]:
            yield STARTED
            outcome = {"type": "interrupt", "interrupts": [{"id": "i1", "reason": "r"}]}
            yield FINISHED if "resume" in turn.input else event("RUN_FINISHED", outcome=outcome)

        monkeypatch.setattr(idle, "LOOK_AGAIN_SECONDS", 0.02)
        monkeypatch.setattr(reaper, "SWEEP_SECONDS", 0.02)
        looked = 0

        def look(connection: Connection, *arguments: Any) -> SessionRow | None:
            nonlocal looked
            looked += 1
            return stop_if_idle(connection, *arguments)

        for module in (idle, reaper):
            monkeypatch.setattr(module, "stop_if_idle", look)
        async with open_backend(tmp_path, play, idle_timeout=0.02) as harness:
            session_id, approval = await open_approval(harness)
            await until(lambda: asyncio.sleep(0, looked), lambda count: count > 2)
            assert (await harness.backend.sessions.get_session(CALLER, session_id)).status is SessionStatus.RUNNING
            await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, ALLOW)
            await harness.status(session_id, SessionStatus.STOPPED)
