"""Interrupts at every awkward moment: confirmed within the deadline, and each run ends exactly once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.agents.port import Turn
from app.engine.config import GracePeriod
from app.errors import SessionNotFound, StorageUnavailable
from app.models.runs import InterruptResult, MessageCreate, RunStatus
from app.models.sessions import SessionStatus
from tests.support.scripted import (
    CALLER,
    FINISHED,
    STARTED,
    Harness,
    Scripted,
    Stubborn,
    echo,
    endless,
    event,
    last_message,
    open_backend,
)
from tests.support.store import sqlite_only

TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}


async def interrupt(harness: Harness, session_id: str) -> bool | None:
    interruption = await harness.backend.runs.interrupt_session(CALLER, session_id)
    assert interruption == InterruptResult(message="Interrupt signal sent", interrupted=interruption.interrupted)
    return interruption.interrupted


async def test_the_run_has_ended_and_the_session_still_runs_when_the_response_comes(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        assert await interrupt(harness, session_id) is True
        run = await harness.run(session_id, task.run_id)
        assert (run.status, run.error) == (RunStatus.INTERRUPTED, None)
        log = await harness.log(session_id)
        assert [each["type"] for each in log] == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]
        assert log[-1]["outcome"] == {"type": "cancelled"}
        assert (await harness.backend.sessions.get_session(CALLER, session_id)).status is SessionStatus.RUNNING


async def test_the_queue_goes_on_when_its_first_run_is_interrupted(tmp_path: Path) -> None:
    async def slow_task(turn: Turn) -> AsyncIterator[bytes]:
        async for each in (endless if last_message(turn) == "the task" else echo)(turn):
            yield each

    async with open_backend(tmp_path, slow_task) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id)
        queued = [await harness.say(session_id, content) for content in ("one", "two")]
        assert await interrupt(harness, session_id) is True
        for run_id in queued:
            assert (await harness.ended(session_id, run_id)).status is RunStatus.COMPLETED


async def test_the_run_is_active_until_its_agent_has_ended_its_turn(tmp_path: Path) -> None:
    cancelled, release = asyncio.Event(), asyncio.Event()

    async def tidy(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await release.wait()

    async with open_backend(tmp_path, tidy, grace=GracePeriod(cancel=5.0, close=3.0)) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        answer = asyncio.create_task(interrupt(harness, session_id))
        await cancelled.wait()
        for _ in range(5):
            await harness.backend.runs.send_message(CALLER, session_id, MessageCreate(content="a commit of its own"))
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.RUNNING
        assert not answer.done()
        release.set()
        assert await answer is True
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.INTERRUPTED


async def test_nothing_is_interrupted_when_nothing_runs(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        session_id = await harness.running()
        await harness.ended(session_id, await harness.say(session_id, "x"))
        assert await interrupt(harness, session_id) is False
        await harness.backend.sessions.stop_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.STOPPED)
        assert await interrupt(harness, session_id) is False
        await harness.backend.sessions.delete_session(CALLER, session_id)
        with pytest.raises(SessionNotFound):
            await interrupt(harness, session_id)


async def test_the_run_is_interrupted_when_it_was_accepted_only_just_now(tmp_path: Path) -> None:
    async def slow(turn: Turn) -> AsyncIterator[bytes]:
        async for each in (echo if last_message(turn) == "the task" else endless)(turn):
            yield each

    async with open_backend(tmp_path, slow) as harness:
        session_id = await harness.running()
        for _ in range(10):
            run_id = await harness.say(session_id, "x")
            assert await interrupt(harness, session_id) is True
            assert (await harness.run(session_id, run_id)).status is RunStatus.INTERRUPTED
            assert await harness.types(session_id, run_id) in (
                ["RUN_STARTED", "RUN_FINISHED"],
                ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_FINISHED"],
            )


async def test_one_terminal_event_is_stored_when_many_interrupts_come_at_once(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        answers = await asyncio.gather(*(interrupt(harness, session_id) for _ in range(10)))
        assert True in answers
        assert None not in answers
        types = await harness.types(session_id)
        assert [type_ for type_ in types if type_ in TERMINAL] == ["RUN_FINISHED"]


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_one_terminal_event_is_stored_when_interrupt_and_end_race(tmp_path: Path, steps: int) -> None:
    go_on = asyncio.Event()

    async def nearly_done(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        await go_on.wait()
        yield FINISHED

    async with open_backend(tmp_path, nearly_done) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        go_on.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        answer = await interrupt(harness, session_id)
        run = await harness.ended(session_id, task.run_id)
        log = await harness.log(session_id)
        assert [each["type"] for each in log] == ["RUN_STARTED", "RUN_FINISHED"]
        cancelled = log[-1].get("outcome") == {"type": "cancelled"}
        assert run.status is (RunStatus.INTERRUPTED if cancelled else RunStatus.COMPLETED)
        assert answer is True or run.status is RunStatus.COMPLETED


async def test_the_agent_is_closed_and_abandoned_when_it_does_not_end_its_turn(tmp_path: Path) -> None:
    agents: list[Scripted] = []
    stubborn = Stubborn()

    async def late(turn: Turn) -> AsyncIterator[bytes]:
        if last_message(turn) != "the task":
            async for each in echo(turn):
                yield each
            return
        async for each in stubborn(turn):
            yield each
        yield event("TEXT_MESSAGE_START", messageId="late", role="assistant")

    def make_agent() -> Scripted:
        agents.append(Scripted(late))
        return agents[-1]

    async with open_backend(tmp_path, make_agent=make_agent) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        queued = await harness.say(session_id, "next")
        assert await interrupt(harness, session_id) is True
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.INTERRUPTED
        assert (await harness.ended(session_id, queued)).status is RunStatus.COMPLETED
        assert [agent.closed for agent in agents] == [1, 0]
        stubborn.free.set()
        await harness.ended(session_id, await harness.say(session_id, "after"))
        assert await harness.types(session_id, task.run_id) == ["RUN_STARTED", "RUN_FINISHED"]


async def test_the_interrupt_is_confirmed_when_even_closing_the_agent_hangs(tmp_path: Path) -> None:
    class Stuck(Scripted):
        async def close(self) -> None:
            await asyncio.Event().wait()

    stubborn = Stubborn()
    async with open_backend(tmp_path, make_agent=lambda: Stuck(stubborn)) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=1)
        assert await interrupt(harness, session_id) is True
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.INTERRUPTED
        stubborn.free.set()


@sqlite_only
async def test_the_interrupt_fails_when_the_end_cannot_be_stored_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.sqlite.engine.BUSY_TIMEOUT_MS", 10)
    async with open_backend(tmp_path, endless, interrupt_timeout=0.3) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id, at_least=2)
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            await interrupt(harness, session_id)
        assert (await harness.run(session_id, task.run_id)).status is RunStatus.RUNNING
        other.execute("ROLLBACK")
        other.close()
        assert (await harness.ended(session_id, task.run_id)).status is RunStatus.INTERRUPTED
