"""The session log says why a request was denied."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.agents.port import Turn
from app.models.approvals import ApprovalAnswer, ApprovalPolicy, ApprovalRequest, Decision
from tests.support.scripted import CALLER, FINISHED, STARTED, Harness, event, open_backend, until

INTERRUPT = event(
    "RUN_FINISHED", outcome={"type": "interrupt", "interrupts": [{"id": "i", "reason": "why", "message": "Delete it?"}]}
)


async def in_turn(turn: Turn) -> AsyncIterator[bytes]:
    yield STARTED
    await turn.request_approval(ApprovalRequest(message="Delete it?"))
    yield FINISHED


async def between_turns(turn: Turn) -> AsyncIterator[bytes]:
    yield STARTED
    yield FINISHED if "resume" in turn.input else INTERRUPT


async def logged(harness: Harness, session_id: str, text: str) -> None:
    async def log() -> str:
        return await harness.backend.output.get_session_logs(CALLER, session_id, tail=100)

    await until(log, lambda lines: f": denied Delete it?: {text}\n" in lines)


@pytest.mark.parametrize(
    ("options", "fields", "reason"),
    [
        ({}, {"approval_policy": ApprovalPolicy.DENY}, "the session's approval_policy is deny"),
        ({"approval_timeout": 0.05}, {}, "nobody has decided in time"),
    ],
)
async def test_a_request_within_a_turn(
    tmp_path: Path, options: dict[str, Any], fields: dict[str, Any], reason: str
) -> None:
    async with open_backend(tmp_path, in_turn, **options) as harness:
        await logged(harness, await harness.create("go", **fields), reason)


@pytest.mark.parametrize("play", [in_turn, between_turns])
async def test_a_request_that_a_client_denies(tmp_path: Path, play: Any) -> None:
    async with open_backend(tmp_path, play) as harness:
        session_id = await harness.create("go")
        found = await until(
            lambda: harness.backend.runs.list_approvals(CALLER, session_id), lambda approvals: approvals.items
        )
        answer = ApprovalAnswer(decision=Decision.DENY)
        await harness.backend.runs.answer_approval(CALLER, session_id, found.items[0].id, answer)
        await logged(harness, session_id, "a client denied it")


async def test_a_question_that_a_new_message_passes_over(tmp_path: Path) -> None:
    async with open_backend(tmp_path, between_turns) as harness:
        session_id = await harness.running("go")
        await harness.ended(session_id, await harness.say(session_id, "never mind"))
        await logged(harness, session_id, "nobody has decided in time")
