"""Slots bound how many sessions run at once, limits how long one may have nothing to do."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from app.clock import now_ms
from app.engine.config import WorkerPlace
from app.engine.scheduling import SessionSlots
from app.errors import NotRunning
from app.git.access import GitAccess
from app.models.runs import RunStatus
from app.models.sessions import Repo, SessionStatus
from app.store.commands import runs
from tests.support.scripted import CALLER, Harness, endless, open_backend, until
from tests.support.store import postgresql_only, sqlite_only

PENDING, RUNNING, STOPPED = SessionStatus.PENDING, SessionStatus.RUNNING, SessionStatus.STOPPED
NO_REPO = [Repo(url="file:///nowhere/at-all")]


async def statuses(harness: Harness, *session_ids: str) -> list[SessionStatus]:
    return [(await harness.backend.sessions.get_session(CALLER, session_id)).status for session_id in session_ids]


async def lines(harness: Harness, session_id: str) -> list[str]:
    return (await harness.backend.output.get_session_logs(CALLER, session_id, tail=100)).splitlines()


class TestMaxRunningSessions:
    async def test_sessions_beyond_the_bound_wait_and_run_in_the_order_of_their_creation(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=2) as harness:
            ids = [await harness.create(f"task {number}") for number in range(5)]
            for session_id in ids[:2]:
                await harness.status(session_id, RUNNING)
            for number, session_id in enumerate(ids[:3]):
                waiting = ids[number + 2 :]
                assert await statuses(harness, *waiting) == [PENDING] * len(waiting)
                with pytest.raises(NotRunning):
                    await harness.say(waiting[0], "too early")
                await harness.backend.sessions.stop_session(CALLER, session_id)
                await harness.status(waiting[0], RUNNING)

    async def test_a_session_that_waits_can_be_stopped_and_deleted(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=1) as harness:
            first, second, third, fourth = [await harness.create() for _ in range(4)]
            await harness.status(first, RUNNING)
            await harness.backend.sessions.stop_session(CALLER, second)
            await harness.status(second, STOPPED)
            await harness.backend.sessions.delete_session(CALLER, third)
            await harness.backend.sessions.delete_session(CALLER, first)
            await harness.status(fourth, RUNNING)

    async def test_a_session_that_is_started_again_waits_after_the_others(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=1) as harness:
            first, second = await harness.create(), await harness.create()
            await harness.status(first, RUNNING)
            await harness.backend.sessions.stop_session(CALLER, first)
            await harness.status(second, RUNNING)
            third = await harness.create()
            await harness.backend.sessions.start_session(CALLER, first)
            await harness.backend.sessions.stop_session(CALLER, second)
            await harness.status(third, RUNNING)
            assert await statuses(harness, first) == [PENDING]
            await harness.backend.sessions.delete_session(CALLER, third)
            await harness.status(first, RUNNING)

    async def test_a_session_that_fails_releases_its_slot(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=1, git=GitAccess(("file",))) as harness:
            failing = [await harness.create(repos=NO_REPO) for _ in range(2)]
            last = await harness.create()
            await harness.status(last, RUNNING)
            assert await statuses(harness, *failing) == [SessionStatus.FAILED] * 2

    async def test_the_order_outlives_the_server(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=1) as harness:
            first, second, third = [await harness.create() for _ in range(3)]
            await harness.status(first, RUNNING)
            await harness.backend.sessions.stop_session(CALLER, second)
            await harness.status(second, STOPPED)
            await harness.backend.sessions.start_session(CALLER, second)
        async with open_backend(tmp_path, endless, max_running=1) as harness:
            assert await statuses(harness, first, second, third) == [RUNNING, PENDING, PENDING]
            await harness.backend.sessions.stop_session(CALLER, first)
            await harness.status(third, RUNNING)
            assert await statuses(harness, second) == [PENDING]

    async def test_sessions_that_run_already_go_on_when_the_bound_is_lowered(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path) as harness:
            running = [await harness.running() for _ in range(3)]
        async with open_backend(tmp_path, endless, max_running=2) as harness:
            waiting = await harness.create()
            assert await statuses(harness, *running, waiting) == [RUNNING] * 3 + [PENDING]
            for number, session_id in enumerate(running[:2]):
                await harness.backend.sessions.stop_session(CALLER, session_id)
                await harness.status(session_id, STOPPED)
                await harness.status(waiting, RUNNING if number == 1 else PENDING)

    async def test_a_slot_that_was_granted_to_a_cancelled_session_is_passed_on(self) -> None:
        slots = SessionSlots(1)
        assert slots.try_acquire(1)
        assert not slots.try_acquire(2)
        second, third = (asyncio.create_task(slots.acquire(number)) for number in (2, 3))
        await asyncio.sleep(0)
        slots.release(1)
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second
        slots.release(2)
        await third

    async def test_the_log_of_a_session_shows_that_it_waits(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, max_running=1) as harness:
            first, second = await harness.create(), await harness.create()
            await harness.status(first, RUNNING)
            [waits] = await until(lambda: lines(harness, second))
            assert waits.endswith(" session: waits for a slot, MAX_RUNNING_SESSIONS is 1")
            await harness.backend.sessions.stop_session(CALLER, first)
            await harness.status(second, RUNNING)
            assert (await lines(harness, second))[1].endswith(" session: has a slot")
            assert not any("slot" in line for line in await lines(harness, first))


class TestIdleTimeout:
    async def test_a_session_is_stopped_when_it_has_been_idle_for_the_timeout(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, idle_timeout=0.05) as harness:
            session_id = await harness.create()
            await harness.status(session_id, STOPPED)
            assert [run.status for run in await harness.runs(session_id)] == [RunStatus.COMPLETED]
            await harness.backend.sessions.start_session(CALLER, session_id)
            await harness.status(session_id, STOPPED)

    async def test_a_session_with_a_run_is_not_idle(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless, idle_timeout=0.02) as harness:
            busy, other = await harness.create(), await harness.create()
            [task] = await harness.runs(other)
            await harness.active(other, task.run_id)
            await harness.backend.runs.interrupt_session(CALLER, other)
            await harness.status(other, STOPPED)
            assert await statuses(harness, busy) == [RUNNING]

    async def test_a_session_that_an_earlier_server_left_idle_is_stopped(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path) as harness:
            idle = await harness.running()
        async with open_backend(tmp_path, idle_timeout=0.05) as harness:
            await harness.status(idle, STOPPED)

    async def test_the_shorter_one_of_the_sessions_and_the_servers_limit_counts(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, idle_timeout=0.05) as harness:
            await harness.status(await harness.create(idle_timeout_seconds=3600), STOPPED)
        async with open_backend(tmp_path, idle_timeout=3600) as harness:
            session_id = await harness.create(idle_timeout_seconds=1)
            await harness.status(session_id, STOPPED)

    async def test_a_session_whose_run_was_aborted_with_its_server_is_stopped(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, endless) as harness:
            session_id = await harness.create(stop_on_run_finished=True)
            [task] = await harness.runs(session_id)
            await harness.active(session_id, task.run_id)
        async with open_backend(tmp_path) as harness:
            await harness.status(session_id, STOPPED)
            assert [run.status for run in await harness.runs(session_id)] == [RunStatus.ERROR]

    async def test_a_run_that_ends_by_an_earlier_clock_than_its_session_began_stops_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_backend(tmp_path) as harness:
            monkeypatch.setattr(runs, "now_ms", lambda: now_ms() - 600_000)
            await harness.status(await harness.create(stop_on_run_finished=True), STOPPED)

    async def test_idle_sessions_make_room_for_those_that_wait(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path, idle_timeout=0.05, max_running=1) as harness:
            for session_id in [await harness.create() for _ in range(4)]:
                await harness.status(session_id, STOPPED)
                assert [run.status for run in await harness.runs(session_id)] == [RunStatus.COMPLETED]

    @sqlite_only  # a server that shares its store has no timers
    async def test_nothing_is_stopped_without_a_timeout(self, tmp_path: Path) -> None:
        async with open_backend(tmp_path) as harness:
            session_id = await harness.running()
            engine = harness.backend._engine
            assert engine
            assert engine._supervisor._idle_sessions
            assert engine._supervisor._idle_sessions._timers == {}
            assert await statuses(harness, session_id) == [RUNNING]


@postgresql_only
async def test_sessions_without_work_make_room_when_a_worker_has_as_many_as_it_may(tmp_path: Path) -> None:
    async with open_backend(tmp_path, place=WorkerPlace(sessions=1)) as harness:
        first, second = [await harness.running(f"task {number}") for number in range(2)]
        for session_id in (first, second):
            await harness.ended(session_id, await harness.say(session_id, "go on"))
