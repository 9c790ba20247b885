"""Sessions whose state the platform reports wrongly: runners that are gone, runs of an earlier life, lost stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from app.backends.ambient import session_state
from app.backends.ambient.backend import AmbientBackend
from app.backends.ambient.session_state import LOOK_SECONDS, OBEY_SECONDS, RUNNER_GONE, RUNNER_HANGS, RUNNER_IGNORES
from app.errors import BackendUnavailable
from app.models.output import OutputFormat
from app.models.runs import MessageCreate, RunStatus
from app.models.sessions import Activity, SessionStatus
from app.results import EventStream, StreamEvent
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, LONG_AGO, Clock, connected
from tests.support.platform_recordings import Json, recording, session_log, streamed_sessions

HELLO = MessageCreate(content="hello")


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        yield platform


@pytest.fixture
def clock(platform: FakePlatform) -> Clock:
    clock = platform.clock = Clock()
    return clock


@pytest.fixture
async def backend(platform: FakePlatform, clock: Clock) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url, clock=clock, poll_interval=0.05) as backend:
        yield backend


def play(platform: FakePlatform, number: str, until: int, **status: str) -> tuple[str, str]:
    """Add the session of a recording with its log up to a time; return its name and the id of its first own run."""
    [session] = streamed_sessions(number)
    platform.add_session("demo", session, status={"startTime": LONG_AGO, "lastActivityTime": LONG_AGO} | status)
    run_ids = []
    for line in session_log(number, session):
        if line.time < until:
            platform.runner.play(session, line.stored, line.live)
            run_ids.append(json.loads(line.stored)["runId"])
    return session, list(dict.fromkeys(run_ids))[1]


async def test_run_whose_runner_died_ends_with_an_error(
    platform: FakePlatform, backend: AmbientBackend, clock: Clock
) -> None:
    session, run_id = play(platform, "09", until=2570)
    assert (await backend.sessions.get_session(CALLER, session)).activity is Activity.WORKING
    platform.without_runner.add(session)
    clock.now += LOOK_SECONDS + 1
    assert (await backend.runs.get_run(CALLER, session, run_id)).status is RunStatus.RUNNING  # one look may be wrong
    clock.now += LOOK_SECONDS + 1
    found = await backend.sessions.get_session(CALLER, session)
    assert (found.status, found.activity, found.error) == (SessionStatus.RUNNING, Activity.IDLE, RUNNER_GONE)
    assert (await backend.runs.get_run(CALLER, session, run_id)).status is RunStatus.ERROR
    assert (await backend.runs.interrupt_session(CALLER, session)).interrupted is False


async def test_runner_that_is_missed_in_two_silences_is_not_gone(
    platform: FakePlatform, backend: AmbientBackend, clock: Clock
) -> None:
    session, run_id = play(platform, "09", until=2570)
    platform.without_runner.add(session)
    for active_at in (LONG_AGO, "2026-02-01T00:00:00Z"):
        platform.sessions["demo"][session]["status"]["lastActivityTime"] = active_at
        clock.now += LOOK_SECONDS + 1
        assert (await backend.runs.get_run(CALLER, session, run_id)).status is RunStatus.RUNNING
    assert platform.operations().count("capabilities") == 2


async def test_stream_of_a_run_whose_runner_died_ends(
    platform: FakePlatform, backend: AmbientBackend, clock: Clock
) -> None:
    session, run_id = play(platform, "09", until=2570)
    platform.without_runner.add(session)
    stream = await events_of(backend, session, run_id)
    reading = asyncio.create_task(last_event(stream.pages))
    while not reading.done():
        clock.now += LOOK_SECONDS + 1
        await asyncio.wait([reading], timeout=0.1)
    assert json.loads(reading.result())["type"] == "RUN_ERROR"


async def last_event(pages: AsyncIterator[list[StreamEvent]]) -> bytes:
    event = b""
    async for page in pages:
        event = bytes(page[-1].event) if page else event
    return event


async def test_runner_that_responds_is_not_gone_however_quiet_it_is(
    platform: FakePlatform, backend: AmbientBackend, clock: Clock
) -> None:
    session, run_id = play(platform, "09", until=2570)
    for _ in range(4):
        assert (await backend.runs.get_run(CALLER, session, run_id)).status is RunStatus.RUNNING
        clock.now += LOOK_SECONDS + 1
    assert platform.operations().count("capabilities") == 4


async def test_run_that_was_cut_off_by_a_restart_of_the_backend_ends_with_an_error(
    platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.add_session("demo", "s1", status={"startTime": LONG_AGO, "lastActivityTime": LONG_AGO})
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    reading = asyncio.create_task(last_event((await events_of(backend, "s1", run_id)).pages))
    await asyncio.to_thread(eventually, lambda: platform.streams)
    platform.sessions["demo"]["s1"]["status"]["lastActivityTime"] = "2026-11-29T18:23:53Z"
    await asyncio.to_thread(platform.kill_backend)
    await asyncio.to_thread(eventually, lambda: backend._platform.gone_at)
    await asyncio.to_thread(platform.restart_backend)
    await backend.runs.send_message(CALLER, "s1", HELLO)
    assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.RUNNING  # it may show a sign of life
    monkeypatch.setattr(session_state, "QUIET_SECONDS", 0.0)
    assert json.loads(await asyncio.wait_for(reading, 10))["type"] == "RUN_ERROR"
    assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.ERROR
    found = await backend.sessions.get_session(CALLER, "s1")
    assert (found.status, found.activity, found.error) == (SessionStatus.RUNNING, Activity.IDLE, RUNNER_HANGS)
    await backend.sessions.stop_session(CALLER, "s1")
    platform.settle()
    await backend.sessions.start_session(CALLER, "s1")
    platform.settle()
    platform.runner.pace = "finish"
    again = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    assert (await backend.runs.get_run(CALLER, "s1", again)).status is RunStatus.COMPLETED
    assert (await backend.sessions.get_session(CALLER, "s1")).error is None


async def test_run_that_begins_after_a_restart_of_the_backend_goes_on_however_quiet_it_is(
    platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.add_session("demo", "s1", status={"startTime": LONG_AGO})
    platform.runner.pace = "open"
    await asyncio.to_thread(platform.kill_backend)
    with pytest.raises(BackendUnavailable):
        await backend.sessions.get_session(CALLER, "s1")
    await asyncio.to_thread(platform.restart_backend)
    monkeypatch.setattr(session_state, "QUIET_SECONDS", 0.0)
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    await asyncio.sleep(0.002)
    assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.RUNNING
    assert "capabilities" in platform.operations()


async def test_run_that_an_interrupt_has_no_effect_on_ends_after_a_while(platform: FakePlatform, clock: Clock) -> None:
    status = {"startTime": LONG_AGO}
    platform.add_session("demo", "s1", status=status)
    platform.runner.pace = "open"
    async with connected(platform.url, clock=clock, interrupt_timeout=0.1, poll_interval=0.05) as backend:
        run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
        platform.sessions["demo"]["s1"]["status"]["lastActivityTime"] = LONG_AGO
        platform.runner.cut_off()
        assert (await backend.runs.interrupt_session(CALLER, "s1")).interrupted is None
        assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.RUNNING
        clock.now += OBEY_SECONDS + 1
        found = await backend.runs.get_run(CALLER, "s1", run_id)
        assert found.status is RunStatus.INTERRUPTED
        assert (await backend.sessions.get_session(CALLER, "s1")).error == RUNNER_IGNORES


async def events_of(backend: AmbientBackend, session: str, run_id: str) -> EventStream:
    return await backend.output.stream_session_events(
        CALLER, session, after=None, run_id=run_id, format=OutputFormat.EVENTS
    )


async def test_run_of_an_earlier_life_of_its_session_is_an_error(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    restarted = "2026-11-29T18:24:33Z"
    session, run_id = play(platform, "10", until=46_000, startTime=restarted)
    assert (await backend.runs.get_run(CALLER, session, run_id)).status is RunStatus.ERROR


async def test_stop_that_the_platform_loses_is_sent_again(platform: FakePlatform, backend: AmbientBackend) -> None:
    entries = recording("11b")
    session = entries[1]["body"]["name"]
    bodies = [entry["body"] for entry in entries if is_reading(entry, session)]
    at_stop = next(index for index, body in enumerate(bodies) if phase(body) == "Creating")
    platform.add_session("demo", session, phase="Pending")
    assert (await backend.sessions.stop_session(CALLER, session)).status is SessionStatus.STOPPING
    platform.sessions["demo"][session] = bodies[at_stop]
    await asyncio.to_thread(eventually, lambda: platform.operations().count("stop"), lambda count: count > 1)
    assert (await backend.sessions.get_session(CALLER, session)).status is SessionStatus.STOPPING
    platform.sessions["demo"][session] = next(body for body in bodies if phase(body) == "Running")
    await asyncio.to_thread(eventually, lambda: platform.operations().count("stop"), lambda count: count > 2)
    platform.settle()
    found = await backend.sessions.get_session(CALLER, session)
    assert found.status is SessionStatus.STOPPED
    await backend.sessions.start_session(CALLER, session)
    platform.settle()
    assert (await backend.sessions.get_session(CALLER, session)).status is SessionStatus.RUNNING


def is_reading(entry: Json, session: str) -> bool:
    return entry.get("method") == "GET" and entry["status"] == 200 and entry["path"].endswith(f"/{session}")


def phase(body: Json) -> str | None:
    found: str | None = body.get("status", {}).get("phase")
    return found


async def test_stop_is_repeated_no_more_once_the_session_is_deleted(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.add_session("demo", "s1", phase="Pending")
    await backend.sessions.stop_session(CALLER, "s1")
    await backend.sessions.delete_session(CALLER, "s1")
    platform.add_session("demo", "s1", phase="Running")
    assert (await backend.sessions.get_session(CALLER, "s1")).status is SessionStatus.RUNNING
