"""AG-UI agents that do not speak 1.0, or not quite: older questions, and a second run in one answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.agents.port import Turn
from app.models.approvals import ApprovalAnswer, ApprovalPolicy, Decision
from app.models.runs import RunStatus
from tests.engine.test_history import started, told
from tests.support.scripted import CALLER, STARTED, Harness, event, open_backend

CUSTOM = event("CUSTOM", name="on_interrupt", value='{"question":"May I?"}')
BARE = event("RUN_FINISHED")
STRING = event("RUN_FINISHED", outcome="interrupt", interrupt={"id": "i1", "payload": {"message": "May I?"}})
CALL = {"toolCallName": "delete"}


def asking(inputs: list[dict[str, Any]], *question: bytes) -> Any:
    """Return a script that asks in its first turn."""

    async def play(turn: Turn) -> AsyncIterator[bytes]:
        inputs.append(turn.input)
        yield STARTED
        for each in question if len(inputs) == 1 else (BARE,):
            yield each

    return play


async def decide(harness: Harness, session_id: str, decision: Decision, **payload: Any) -> str:
    """Decide the only approval, and return the run that goes on."""
    [approval] = (await harness.backend.runs.list_approvals(CALLER, session_id)).items
    assert approval.message == "May I?"
    answer = ApprovalAnswer(decision=decision, payload=payload or None)
    await harness.backend.runs.answer_approval(CALLER, session_id, approval.id, answer)
    run = await harness.run(session_id, approval.run_id)
    assert run.status is RunStatus.COMPLETED
    assert run.continued_by is not None
    await harness.ended(session_id, run.continued_by)
    return run.continued_by


@pytest.mark.parametrize(
    ("decision", "payload", "resume"),
    [
        (Decision.ALLOW, {}, {"approved": True}),
        (Decision.DENY, {}, {"approved": False}),
        (Decision.ALLOW, {"choice": 2}, {"choice": 2}),
    ],
)
async def test_on_interrupt_is_an_approval_that_is_answered_as_a_command(
    tmp_path: Path, decision: Decision, payload: dict[str, Any], resume: Any
) -> None:
    inputs: list[dict[str, Any]] = []
    async with open_backend(tmp_path, asking(inputs, CUSTOM, BARE)) as harness:
        session_id = await started(harness, "delete it")
        [run] = await harness.runs(session_id)
        assert run.status is RunStatus.WAITING
        await decide(harness, session_id, decision, **payload)
    assert inputs[1]["forwardedProps"]["command"] == {"resume": resume, "interruptEvent": '{"question":"May I?"}'}
    assert "resume" not in inputs[1]


async def test_a_string_outcome_is_an_approval_that_is_answered_by_an_object(tmp_path: Path) -> None:
    inputs: list[dict[str, Any]] = []
    async with open_backend(tmp_path, asking(inputs, STRING)) as harness:
        session_id = await started(harness, "delete it")
        await decide(harness, session_id, Decision.ALLOW)
    assert inputs[1]["resume"] == {"interruptId": "i1", "payload": {"approved": True}}


@pytest.mark.parametrize(("question", "member"), [((CUSTOM, BARE), "forwardedProps"), ((STRING,), "resume")])
async def test_a_new_message_denies_an_older_question(tmp_path: Path, question: tuple[bytes, ...], member: str) -> None:
    inputs: list[dict[str, Any]] = []
    async with open_backend(tmp_path, asking(inputs, *question)) as harness:
        session_id = await started(harness, "delete it")
        await told(harness, session_id, "never mind")
        assert (await harness.backend.runs.list_approvals(CALLER, session_id)).items == []
    assert "'approved': False" in str(inputs[1][member])


async def test_a_policy_answers_an_older_question_in_its_shape(tmp_path: Path) -> None:
    inputs: list[dict[str, Any]] = []
    async with open_backend(tmp_path, asking(inputs, CUSTOM, BARE)) as harness:
        session_id = await harness.create("delete it", approval_policy=ApprovalPolicy.ALLOW)
        [task, *_] = await harness.runs(session_id)
        first = await harness.ended(session_id, task.run_id)
        assert first.continued_by is not None
        await harness.ended(session_id, first.continued_by)
    assert inputs[1]["forwardedProps"]["command"]["resume"] == {"approved": True}


async def test_an_interrupt_of_1_0_beside_on_interrupt_is_asked_once(tmp_path: Path) -> None:
    inputs: list[dict[str, Any]] = []
    interrupt = {"id": "int-1", "reason": "tool_call", "message": "May I?"}
    end = event("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": [interrupt]})
    async with open_backend(tmp_path, asking(inputs, CUSTOM, end)) as harness:
        session_id = await started(harness, "delete it")
        await decide(harness, session_id, Decision.ALLOW)
    assert inputs[1]["resume"] == [{"interruptId": "int-1", "status": "resolved"}]


async def test_an_interrupt_of_a_call_with_a_reused_id_shows_the_open_one(tmp_path: Path) -> None:
    def call(arguments: str) -> list[bytes]:
        return [
            event("TOOL_CALL_START", toolCallId="call_0", **CALL),
            event("TOOL_CALL_ARGS", toolCallId="call_0", delta=arguments),
            event("TOOL_CALL_END", toolCallId="call_0"),
        ]

    async def play(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        for each in call('{"path":"one"}'):
            yield each
        yield event("TOOL_CALL_RESULT", toolCallId="call_0", messageId="m", content="done")
        for each in call('{"path":"two"}'):
            yield each
        interrupt = {"id": "i", "reason": "tool_call", "toolCallId": "call_0"}
        yield event("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": [interrupt]})

    async with open_backend(tmp_path, play) as harness:
        session_id = await started(harness, "delete both")
        [approval] = (await harness.backend.runs.list_approvals(CALLER, session_id)).items
    assert approval.args == {"path": "two"}


def text(id_: str, delta: str) -> list[bytes]:
    return [
        event("TEXT_MESSAGE_START", messageId=id_, role="assistant"),
        event("TEXT_MESSAGE_CONTENT", messageId=id_, delta=delta),
        event("TEXT_MESSAGE_END", messageId=id_),
    ]


async def test_a_second_run_in_one_answer_belongs_to_the_same_run(tmp_path: Path) -> None:
    def usage(tokens: int) -> bytes:
        return event("RUN_FINISHED", usage=[{"inputTokens": tokens}])

    async def play(_turn: Turn) -> AsyncIterator[bytes]:
        for number in (1, 2, 3):
            yield STARTED
            for each in text(f"m{number}", str(number)):
                yield each
            yield usage(number)

    async with open_backend(tmp_path, play) as harness:
        session_id = await started(harness, "go")
        [run] = await harness.runs(session_id)
        types = await harness.types(session_id)
        summary = await harness.run(session_id, run.run_id)
    assert types == [
        "RUN_STARTED",
        *["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"] * 3,
        "RUN_FINISHED",
    ]
    assert (summary.status, summary.answer) == (RunStatus.COMPLETED, "3")
    assert summary.usage is not None
    assert summary.usage.input_tokens == 6


@pytest.mark.parametrize(
    ("second", "status"),
    [
        ([STARTED, event("RUN_ERROR", message="no")], RunStatus.ERROR),
        ([STARTED], RunStatus.ERROR),
        ([event("RUN_ERROR", message="late")], RunStatus.COMPLETED),
        ([b"{}", b"nonsense"], RunStatus.COMPLETED),
        (text("late", "x"), RunStatus.COMPLETED),
    ],
)
async def test_only_another_beginning_goes_on_with_a_run_that_has_ended(
    tmp_path: Path, second: list[bytes], status: RunStatus
) -> None:
    async def play(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield BARE
        for each in second:
            yield each

    async with open_backend(tmp_path, play) as harness:
        session_id = await started(harness, "go")
        [run] = await harness.runs(session_id)
        types = await harness.types(session_id)
    assert run.status is status
    assert types == ["RUN_STARTED", "RUN_FINISHED" if status is RunStatus.COMPLETED else "RUN_ERROR"]
