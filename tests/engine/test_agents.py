"""Agents that misbehave: whatever they do, exactly one terminal event ends the run, and the next run goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.agents.port import AgentError, Turn
from app.agui.run_recorder import RunRecorder
from app.engine.execution import Execution
from app.models.runs import RunStatus
from tests.support.scripted import (
    CALLER,
    FINISHED,
    STARTED,
    Harness,
    Play,
    Scripted,
    echo,
    event,
    last_message,
    open_backend,
    until,
)

TEXT = event("TEXT_MESSAGE_START", messageId="m", role="assistant")


def play(*events: Any, then: Callable[[], BaseException] | None = None) -> Play:
    """An agent that sends these on the task and behaves on every other message."""

    async def run(turn: Turn) -> AsyncIterator[bytes]:
        if last_message(turn) != "misbehave":
            async for each in echo(turn):
                yield each
            return
        for each in events:
            yield each
        if then:
            raise then()

    return run


MISBEHAVIOURS: dict[str, tuple[Play, str, list[str]]] = {
    "it sends nothing": (play(), "agent_ended_early", ["RUN_STARTED"]),
    "it ends in the middle of a text": (
        play(STARTED, TEXT),
        "agent_ended_early",
        ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END"],
    ),
    "it never starts": (play(TEXT), "agent_ended_early", ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END"]),
    "it cannot be reached": (
        play(then=lambda: AgentError("The agent cannot be reached.")),
        "agent_unreachable",
        ["RUN_STARTED"],
    ),
    "it breaks the protocol": (
        play(STARTED, then=lambda: AgentError("The agent stopped.")),
        "agent_protocol_error",
        ["RUN_STARTED"],
    ),
    "it sends no JSON": (play(STARTED, b"<html>"), "agent_protocol_error", ["RUN_STARTED"]),
    "it sends half an object": (play(STARTED, b'{"type":"RUN_FIN'), "agent_protocol_error", ["RUN_STARTED"]),
    "it sends a list": (play(STARTED, b"[]"), "agent_protocol_error", ["RUN_STARTED"]),
    "it sends an object without a type": (play(STARTED, b'{"a":1}'), "agent_protocol_error", ["RUN_STARTED"]),
    "it sends bytes that are no text": (
        play(STARTED, b'{"type":"CUSTOM","value":"\xff"}'),
        "agent_ended_early",
        ["RUN_STARTED", "CUSTOM"],
    ),
    "it sends garbage first": (play(b"\x00"), "agent_protocol_error", ["RUN_STARTED"]),
    "it sends nothing at all as an event": (play(STARTED, b""), "agent_protocol_error", ["RUN_STARTED"]),
    "it hands over what is not bytes": (play(STARTED, None), "internal_error", ["RUN_STARTED"]),
    "it raises": (play(STARTED, then=lambda: ZeroDivisionError("secret")), "internal_error", ["RUN_STARTED"]),
    "it cancels itself": (play(STARTED, then=asyncio.CancelledError), "agent_ended_early", ["RUN_STARTED"]),
}


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS)
async def test_the_run_ends_with_one_error_when(tmp_path: Path, behaviour: str) -> None:
    script, code, before = MISBEHAVIOURS[behaviour]
    async with open_backend(tmp_path, script) as harness:
        session_id = await harness.running("misbehave")
        [run] = await harness.runs(session_id)
        log = await harness.log(session_id)
        assert [each["type"] for each in log] == [*before, "RUN_ERROR"]
        assert log[-1]["code"] == code
        assert (run.status, run.error, run.event_count) == (RunStatus.ERROR, log[-1]["message"], len(log))
        assert "secret" not in str(log)
        assert log[0]["input"]["messages"][0]["content"] == "misbehave"
        again = await harness.ended(session_id, await harness.say(session_id, "behave"))
        assert again.status is RunStatus.COMPLETED


async def test_later_events_are_dropped_when_the_run_has_ended(tmp_path: Path) -> None:
    script = play(STARTED, FINISHED, TEXT, event("RUN_ERROR", message="no"), STARTED, FINISHED, b"garbage")
    async with open_backend(tmp_path, script) as harness:
        session_id = await harness.running("misbehave")
        assert await harness.types(session_id) == ["RUN_STARTED", "RUN_FINISHED"]
        assert (await harness.runs(session_id))[0].status is RunStatus.COMPLETED


async def test_open_parts_are_closed_when_the_agent_forgets_them(tmp_path: Path) -> None:
    script = play(
        STARTED,
        event("STEP_STARTED", stepName="s"),
        TEXT,
        event("TOOL_CALL_START", toolCallId="c", toolCallName="t"),
        FINISHED,
    )
    async with open_backend(tmp_path, script) as harness:
        session_id = await harness.running("misbehave")
        assert await harness.types(session_id) == [
            "RUN_STARTED",
            "STEP_STARTED",
            "TEXT_MESSAGE_START",
            "TOOL_CALL_START",
            "TOOL_CALL_END",
            "TEXT_MESSAGE_END",
            "STEP_FINISHED",
            "RUN_FINISHED",
        ]


async def test_the_second_start_is_dropped_when_a_run_starts_twice(tmp_path: Path) -> None:
    async with open_backend(tmp_path, play(STARTED, STARTED, FINISHED)) as harness:
        session_id = await harness.running("misbehave")
        assert await harness.types(session_id) == ["RUN_STARTED", "RUN_FINISHED"]


@pytest.mark.parametrize(
    ("terminal", "status", "error"),
    [
        (
            event("RUN_ERROR", message="The model is overloaded", code="busy"),
            RunStatus.ERROR,
            "The model is overloaded",
        ),
        (event("RUN_ERROR"), RunStatus.ERROR, "The agent reported an error."),
        (event("RUN_FINISHED", result={"is_error": True}), RunStatus.ERROR, "The agent reported an error."),
        (event("RUN_FINISHED", outcome={"type": "cancelled"}), RunStatus.INTERRUPTED, None),
        (event("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": []}), RunStatus.COMPLETED, None),
        (event("RUN_FINISHED", outcome={"type": "success"}), RunStatus.COMPLETED, None),
        (event("RUN_FINISHED", outcome="odd", result=["odd"]), RunStatus.COMPLETED, None),
    ],
)
async def test_the_summary_has_the_outcome_when_the_agent_ends_the_run(
    tmp_path: Path, terminal: bytes, status: RunStatus, error: str | None
) -> None:
    async with open_backend(tmp_path, play(STARTED, terminal)) as harness:
        [run] = await harness.runs(await harness.running("misbehave"))
        assert (run.status, run.error) == (status, error)


async def log_of_a_timeout(harness: Harness) -> list[dict[str, Any]]:
    """Return the log of a run that times out once its agent has begun; on a busy machine another may before."""

    async def log() -> list[dict[str, Any]]:
        return await harness.log(await harness.running())

    return await until(log, lambda events: len(events) > 2)


async def test_the_run_times_out_when_the_agent_hangs(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def hang(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield TEXT
        try:
            await asyncio.Event().wait()
        finally:
            released.set()

    async with open_backend(tmp_path, hang, run_timeout=0.2) as harness:
        log = await log_of_a_timeout(harness)
        assert [each["type"] for each in log] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_ERROR"]
        assert log[-1]["code"] == "run_timeout"
        assert released.is_set()


async def test_the_run_times_out_when_the_agent_never_stops_talking(tmp_path: Path) -> None:
    async def chatter(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        while True:
            yield event("CUSTOM", name="n", value=1)

    async with open_backend(tmp_path, chatter, run_timeout=0.3) as harness:
        types = [each["type"] for each in await log_of_a_timeout(harness)]
        assert types[0] == "RUN_STARTED"
        assert set(types[1:-1]) == {"CUSTOM"}
        assert types[-1] == "RUN_ERROR"


async def test_the_next_run_goes_on_when_the_agent_stays_after_its_end(tmp_path: Path) -> None:
    released: list[str] = []

    async def linger(turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield FINISHED
        try:
            while True:
                yield TEXT
        finally:
            released.append(last_message(turn))

    async with open_backend(tmp_path, linger) as harness:
        session_id = await harness.running("one")
        await harness.ended(session_id, await harness.say(session_id, "two"))
        assert released[0] == "one"
        assert await harness.types(session_id) == ["RUN_STARTED", "RUN_FINISHED"] * 2


async def test_the_run_ends_with_an_internal_error_when_the_engine_itself_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
        with monkeypatch.context() as patch:
            patch.setattr(RunRecorder, "record", None)
            patch.setattr(Execution, "_terminal_events", None)
            run = await harness.ended(session_id, await harness.say(session_id, "x"))
        assert (run.status, run.event_count) == (RunStatus.ERROR, 2)
        assert (await harness.log(session_id, run.run_id))[-1]["code"] == "internal_error"
        assert (await harness.ended(session_id, await harness.say(session_id, "x"))).status is RunStatus.COMPLETED


async def test_another_agent_takes_over_when_one_cannot_be_made(tmp_path: Path) -> None:
    attempts = 0

    def make_agent() -> Scripted:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("secret")
        return Scripted(echo)

    async with open_backend(tmp_path, make_agent=make_agent) as harness:
        session_id = await harness.running()
        log = await harness.log(session_id)
        assert [each.get("code") for each in log] == [None, "internal_error"]
        assert "secret" not in str(log)
        assert (await harness.ended(session_id, await harness.say(session_id, "x"))).status is RunStatus.COMPLETED


async def test_the_agent_is_closed_once_when_its_session_stops(tmp_path: Path) -> None:
    agents: list[Scripted] = []

    def make_agent() -> Scripted:
        agents.append(Scripted(echo))
        return agents[-1]

    async with open_backend(tmp_path, make_agent=make_agent) as harness:
        first, second = await harness.running(), await harness.running()
        await harness.ended(first, await harness.say(first, "again"))
        assert len(agents) == 2
        await harness.backend.sessions.delete_session(CALLER, first)
        assert sorted(agent.closed for agent in agents) == [0, 1]
        assert second
    assert [agent.closed for agent in agents] == [1, 1]
