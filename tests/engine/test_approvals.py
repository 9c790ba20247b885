"""AG-UI interrupts in the store: several at once, with a time limit, through a restart."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.agents.port import Turn
from app.clock import millis
from app.errors import ApprovalClosed
from app.models.approvals import ApprovalAnswer, ApprovalList, Decision
from app.models.runs import RunStatus, RunSummary
from tests.support.scripted import CALLER, FINISHED, STARTED, Harness, event, make_backend, open_backend, until

ALLOW, DENY = ApprovalAnswer(decision=Decision.ALLOW), ApprovalAnswer(decision=Decision.DENY)
PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
APPROVED = {"type": "object", "properties": {"approved": {"type": "boolean"}}}


def interrupting(received: list[Any], *interrupts: Any) -> Any:
    """Return an agent that ends its first turn with these interrupts, and notes what is resumed."""

    async def play(turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        received.append(turn.input.get("resume"))
        if len(received) == 1:
            outcome = {"type": "interrupt", "interrupts": list(interrupts)}
            yield event("TOOL_CALL_START", toolCallId="c1", toolCallName="write")
            yield event("TOOL_CALL_ARGS", toolCallId="c1", delta="not JSON")
            yield event("RUN_FINISHED", outcome=outcome)
        yield FINISHED

    return play


async def approvals(harness: Harness, session_id: str) -> ApprovalList:
    return await harness.backend.runs.list_approvals(CALLER, session_id)


async def all_ended(harness: Harness, session_id: str, count: int) -> list[RunSummary]:
    def over(runs: list[RunSummary]) -> bool:
        return len(runs) == count and all(run.finished_at for run in runs)

    return await until(lambda: harness.runs(session_id), over)


async def test_the_decisions_on_several_interrupts_come_with_one_run(tmp_path: Path) -> None:
    received: list[Any] = []
    plain = {"id": "i1", "reason": "r", "message": "Write?", "toolCallId": "c1", "expiresAt": FUTURE}
    schema = {"id": "i2", "reason": "r", "responseSchema": APPROVED}
    async with open_backend(
        tmp_path, interrupting(received, plain, schema, {"id": "i3", "reason": "r"}, {"reason": "no id"}, 7)
    ) as harness:
        session_id = await harness.running()
        first, second, third = (await approvals(harness, session_id)).items
        assert (first.message, first.tool_name, first.args) == ("Write?", "write", "not JSON")
        assert (first.expires_at, second.expires_at) == ("2999-01-01T00:00:00.000Z", None)
        answer = ApprovalAnswer(decision=Decision.ALLOW, payload={"text": "y"})
        await harness.backend.runs.answer_approval(CALLER, session_id, first.id, answer)
        await harness.backend.runs.answer_approval(CALLER, session_id, second.id, DENY)
        assert len(await harness.runs(session_id)) == 1
        await harness.backend.runs.answer_approval(CALLER, session_id, third.id, DENY)
        await all_ended(harness, session_id, 2)
    assert received[1] == [
        {"interruptId": "i1", "status": "resolved", "payload": {"text": "y"}},
        {"interruptId": "i2", "status": "resolved", "payload": {"approved": False}},
        {"interruptId": "i3", "status": "cancelled"},
    ]


async def test_a_message_carries_the_decisions_so_far_and_cancels_the_other_interrupts(tmp_path: Path) -> None:
    received: list[Any] = []
    async with open_backend(
        tmp_path, interrupting(received, {"id": "i1", "reason": "r"}, {"id": "i2", "reason": "r"})
    ) as harness:
        session_id = await harness.running()
        first, second = (await approvals(harness, session_id)).items
        await harness.backend.runs.answer_approval(CALLER, session_id, first.id, ALLOW)
        await harness.say(session_id, "Never mind")
        await all_ended(harness, session_id, 2)
        with pytest.raises(ApprovalClosed):
            await harness.backend.runs.answer_approval(CALLER, session_id, second.id, ALLOW)
        await harness.say(session_id, "And now?")
        await all_ended(harness, session_id, 3)
    given = [{"interruptId": "i1", "status": "resolved"}, {"interruptId": "i2", "status": "cancelled"}]
    assert received == [None, given, None]


async def test_an_expired_approval_is_not_listed_and_cancelled(tmp_path: Path) -> None:
    received: list[Any] = []
    agent = interrupting(received, {"id": "i1", "reason": "r"}, {"id": "i2", "reason": "r", "expiresAt": PAST})
    async with open_backend(tmp_path, agent) as harness:
        session_id = await harness.running()
        [open_one] = (await approvals(harness, session_id)).items
        await harness.backend.runs.answer_approval(CALLER, session_id, open_one.id, ALLOW)
        await all_ended(harness, session_id, 2)
    assert received[1] == [{"interruptId": "i1", "status": "resolved"}, {"interruptId": "i2", "status": "cancelled"}]


async def test_a_run_whose_approvals_all_expire_continues_with_a_denial(tmp_path: Path) -> None:
    received: list[Any] = []
    interrupts = (
        {"id": "i1", "reason": "r", "expiresAt": PAST},
        {"id": "i2", "reason": "r", "expiresAt": PAST, "responseSchema": APPROVED},
    )
    async with open_backend(tmp_path, interrupting(received, *interrupts)) as harness:
        session_id = await harness.running()
        waited, continuation = await all_ended(harness, session_id, 2)
        assert (waited.status, waited.continued_by) == (RunStatus.COMPLETED, continuation.run_id)
        assert (await approvals(harness, session_id)).items == []
    assert received[1] == [
        {"interruptId": "i1", "status": "cancelled"},
        {"interruptId": "i2", "status": "resolved", "payload": {"approved": False}},
    ]


async def test_an_approval_that_expires_while_the_server_is_down_is_denied_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Any] = []
    agent = interrupting(received, {"id": "i1", "reason": "r", "expiresAt": FUTURE})
    async with open_backend(tmp_path, agent) as harness:
        session_id = await harness.running()
        [approval] = (await approvals(harness, session_id)).items
        assert [run.status for run in await harness.runs(session_id)] == [RunStatus.WAITING]
    for module in ("app.store.approvals", "app.engine.expirations", "app.engine.cluster.reaper"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: millis(FUTURE))
    async with open_backend(tmp_path, agent) as harness:
        waited, continuation = await all_ended(harness, session_id, 2)
        assert (waited.run_id, waited.continued_by) == (approval.run_id, continuation.run_id)
    assert received[1] == [{"interruptId": "i1", "status": "cancelled"}]


async def test_an_approval_stays_open_through_a_restart(tmp_path: Path) -> None:
    received: list[Any] = []
    agent = interrupting(received, {"id": "i1", "reason": "r"})
    async with open_backend(tmp_path, agent) as harness:
        session_id = await harness.running()
        [approval] = (await approvals(harness, session_id)).items
    backend = make_backend(tmp_path, agent)
    await backend.open()
    try:
        harness = Harness(backend)
        assert (await approvals(harness, session_id)).items == [approval]
        await backend.runs.answer_approval(CALLER, session_id, approval.id, ALLOW)
        await all_ended(harness, session_id, 2)
    finally:
        await backend.close()
    assert received[1] == [{"interruptId": "i1", "status": "resolved"}]
