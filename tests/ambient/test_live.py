"""Streams of logs that grow on the platform: joined with its own stream, across drops, restarts and rewrites."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from app.agui.sse import Decoder
from app.backends.ambient import live_log, pending_runs
from app.backends.ambient.backend import AmbientBackend
from app.errors import BackendUnavailable, CursorExpired, Unauthorized
from app.models.caller import Caller
from app.models.output import OutputFormat
from app.models.runs import MessageCreate, RunStatus
from app.results import EventStream, StreamEvent
from tests.support import platform_failures as failures
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, LONG_AGO, caught_up, connected, live_logs, until
from tests.support.platform_recordings import Line, encode, session_log, streamed_sessions

LOGS = [
    (number, session) for number in ("02", "03", "04", "06", "08", "11", "17") for session in streamed_sessions(number)
]
every_log = pytest.mark.parametrize(("number", "session"), LOGS, ids=[f"{number}-{name[-4:]}" for number, name in LOGS])
HELLO = MessageCreate(content="hello")


@pytest.fixture
async def backend(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AmbientBackend]:
    monkeypatch.setattr(pending_runs, "GRACE_SECONDS", 1e9)  # the runs of recordings were accepted long ago
    async with connected(platform.url, poll_interval=0.1) as backend:
        yield backend


class Reader:
    """A task that reads a stream to its end."""

    def __init__(self, stream: EventStream) -> None:
        self.frames: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: EventStream) -> None:
        try:
            async for page in stream.pages:
                self.frames += page
        finally:
            await stream.pages.aclose()

    @property
    def events(self) -> list[bytes]:
        return [bytes(frame.event) for frame in self.frames]

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def reader(backend: AmbientBackend, session: str = "s1", caller: Caller = CALLER, **query: Any) -> Reader:
    options = {"after": None, "run_id": None, "format": OutputFormat.EVENTS} | query
    return Reader(await backend.output.stream_session_events(caller, session, **options))


async def next_frame(one: Reader) -> None:
    await until(lambda: one.frames)


async def reading(platform: FakePlatform) -> None:
    """Wait for a reading of the log, and until it has been worked on."""
    exports = platform.operations().count("export")
    await until(lambda: platform.operations().count("export") > exports)
    await caught_up(platform)


def play(platform: FakePlatform, session: str, line: Line) -> None:
    platform.runner.play(session, line.stored, line.live)


def word(run_id: str, delta: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta, "runId": run_id, "threadId": "s1"}


def lasting(events: list[bytes]) -> list[bytes]:
    kept = ("RUN_", "MESSAGES_SNAPSHOT", "RAW", "STATE_SNAPSHOT")
    return [event for event in events if json.loads(event)["type"].startswith(kept)]


@every_log
async def test_connected_reader_gets_every_line_as_the_export_has_it(
    platform: FakePlatform, backend: AmbientBackend, number: str, session: str
) -> None:
    lines = session_log(number, session)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    one = await reader(backend, session)
    await until(lambda: platform.streams)
    for line in lines:
        play(platform, session, line)
    await until(lambda: len(one.frames) >= len(lines))
    await one.close()
    assert one.events == [line.stored for line in lines]


@every_log
async def test_drops_of_the_stream_lose_and_double_nothing_that_lasts(
    platform: FakePlatform, backend: AmbientBackend, number: str, session: str
) -> None:
    lines = session_log(number, session)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    one = await reader(backend, session)
    chance = random.Random(number)  # noqa: S311 - where to cut is no secret
    for line in lines:
        if chance.random() < 0.2:
            platform.drop_streams()
        if chance.random() < 0.2:
            await until(lambda: platform.streams)
        play(platform, session, line)
        await asyncio.sleep(0)
    stored = [line.stored for line in lines]
    await until(lambda: lasting(one.events) == lasting(stored))
    await one.close()
    remaining = iter(stored)
    assert all(event in remaining for event in one.events)  # each once, and in order


@every_log
async def test_stream_of_a_run_ends_with_its_end_wherever_it_was_cut(
    platform: FakePlatform, backend: AmbientBackend, number: str, session: str
) -> None:
    lines = session_log(number, session)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    readers: dict[str, Reader] = {}
    for index, line in enumerate(lines):
        play(platform, session, line)
        run_id = json.loads(line.stored)["runId"]
        if run_id not in readers:
            readers[run_id] = await reader(backend, session, run_id=run_id)
        if index % 5 == 0:
            platform.drop_streams()
    for run_id, one in readers.items():
        await asyncio.wait_for(one.task, 10)
        last = json.loads(one.events[-1])
        assert (last["type"].startswith("RUN_"), last["runId"]) == (True, run_id)
        own = [line.stored for line in lines if json.loads(line.stored)["runId"] == run_id]
        assert lasting(one.events) == lasting(own)


async def test_words_that_were_deleted_while_the_stream_connected_are_not_told_again(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend)
    await until(lambda: platform.streams)
    platform.runner.append("s1", word(run_id, "a"), {"type": "CUSTOM", "runId": run_id}, word(run_id, "b"))
    await until(lambda: len(one.frames) == 5)
    platform.drop_streams()
    await reading(platform)

    def is_finished() -> bool:
        return any(b"RUN_FINISHED" in event for event in one.events)

    async def repeat_what_is_rewritten(request: web.Request) -> web.StreamResponse:
        lines = list(platform.runner.logs["s1"] or ())
        platform.runner.finish("s1")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for line in lines:
            await response.write(b"data: %b\n\n" % line)
        await until(is_finished)
        return response

    platform.next("events", repeat_what_is_rewritten)
    platform.drop_streams()
    await until(is_finished)
    await reading(platform)
    assert [event for event in one.events if b"TEXT_MESSAGE" in event] == [encode(word(run_id, one)) for one in "ab"]
    await one.close()


async def test_equal_words_on_both_sides_of_an_event_that_lasts_are_told_once_each(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend)
    await until(lambda: platform.streams)
    platform.runner.append("s1", word(run_id, "a"), {"type": "RUN_ERROR", "runId": "another"})
    await reading(platform)

    async def say_it_again(request: web.Request) -> web.StreamResponse:
        answer = await platform._export(request)
        platform.runner.append("s1", word(run_id, "a"))
        await until(lambda: len(one.frames) == 6)
        return answer

    platform.next("export", say_it_again)
    platform.runner.append("s1", {"type": "RUN_ERROR", "runId": "a third"})
    await reading(platform)
    platform.drop_streams()
    await reading(platform)
    await one.close()
    assert one.events.count(encode(word(run_id, "a"))) == 2


async def test_client_that_resumes_after_each_event_gets_what_lasts_once(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    [session] = streamed_sessions("03")
    lines = session_log("03", session)
    platform.add_session("demo", session, status={"startTime": LONG_AGO})
    got: list[bytes] = []
    cursor = None
    for line in lines:
        play(platform, session, line)
        one = await reader(backend, session, after=cursor)
        await next_frame(one)
        await one.close()
        got += one.events
        cursor = one.frames[-1].cursor
    assert got == [line.stored for line in lines]


async def test_readers_with_one_token_share_a_connection(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.append("s1", {"type": "RAW"})
    readers = [await reader(backend) for _ in range(5)]
    other = await reader(backend, caller=Caller(token="another", project="demo"))
    await until(lambda: all(one.frames for one in [*readers, other]))
    await until(lambda: platform.streams == 2)
    assert platform.operations().count("events") == 2
    for one in [*readers, other]:
        await one.close()
    await until(lambda: not platform.streams)


async def test_log_does_not_count_as_followed_while_its_stream_is_cut(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.append("s1", {"type": "RAW"})
    one = await reader(backend)
    live = live_logs(backend)
    await until(lambda: live.summaries(CALLER, "s1") is not None)
    platform.always("events", failures.error(503, "Away"))
    platform.drop_streams()
    await until(lambda: live.summaries(CALLER, "s1") is None)
    platform._always.clear()
    await until(lambda: live.summaries(CALLER, "s1") is not None)
    await one.close()


async def test_reader_that_comes_in_the_middle_of_a_run_gets_all_of_it(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    early = await reader(backend)
    words = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "the ", "runId": run_id, "threadId": "s1"}
    platform.runner.append("s1", words, words)
    await until(lambda: len(early.frames) == 4)
    late = await reader(backend)
    platform.runner.append("s1", words)
    platform.runner.finish("s1")
    await until(lambda: all(b"RUN_FINISHED" in b"".join(one.events) for one in (early, late)))
    assert early.events == late.events
    assert [frame.cursor for frame in early.frames] == [frame.cursor for frame in late.frames]
    for one in (early, late):
        await one.close()


async def test_compact_stream_of_a_run_has_its_words_joined(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend, run_id=run_id, format=OutputFormat.COMPACT)
    await until(lambda: platform.streams)
    platform.runner.finish("s1")
    await asyncio.wait_for(one.task, 10)
    texts = [json.loads(event)["delta"] for event in one.events if b"TEXT_MESSAGE_CONTENT" in event]
    assert texts == ["Hello!"]
    assert b"RUN_FINISHED" in one.events[-1]


async def test_stream_goes_on_when_the_platform_was_away(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.append("s1", {"type": "RAW", "n": 1})
    one = await reader(backend)
    await until(lambda: platform.streams)
    for operation in ("get", "export", "events"):
        platform.always(operation, failures.error(503, "Away"))
    platform.drop_streams()
    await until(lambda: platform.operations().count("events") > 2)
    platform.runner.append("s1", {"type": "RAW", "n": 2})
    platform._always.clear()
    await until(lambda: len(one.frames) == 2)
    await one.close()


async def test_stream_ends_with_an_error_when_the_token_is_revoked(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    one = await reader(backend)
    platform.always("get", failures.error(401, "Token expired or invalid"))
    with pytest.raises(Unauthorized):
        await asyncio.wait_for(one.task, 10)


async def test_reader_that_is_ahead_of_the_stream_waits_for_it(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    first = await reader(backend)
    await caught_up(platform)
    listeners, platform.runner.listeners = platform.runner.listeners, {}
    platform.runner.append("s1", {"type": "CUSTOM", "name": "dropped", "runId": run_id, "threadId": "s1"})
    stream = await backend.output.stream_session_events(
        CALLER, "s1", after=None, run_id=run_id, format=OutputFormat.EVENTS
    )
    platform.runner.listeners = listeners
    platform.always("export", failures.error(503, "Away"))
    second = Reader(stream)
    exports = platform.operations().count("export")
    await until(lambda: platform.operations().count("export") > exports + 6)
    assert not second.task.done()
    platform._always.clear()
    platform.runner.finish("s1")
    await asyncio.wait_for(second.task, 10)
    assert json.loads(second.events[-1])["type"] == "RUN_FINISHED"
    await first.close()


async def test_words_that_the_stream_brings_late_are_not_told_again_to_who_read_them_in_the_log(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    first = await reader(backend)
    live = live_logs(backend)
    await until(lambda: live.summaries(CALLER, "s1") is not None)
    await caught_up(platform)
    listeners, platform.runner.listeners = platform.runner.listeners, {}
    platform.runner.append("s1", word(run_id, "a"), word(run_id, "b"))
    stream = await backend.output.stream_session_events(
        CALLER, "s1", after=None, run_id=None, format=OutputFormat.EVENTS
    )
    platform.always("export", failures.error(503, "Away"))
    second = Reader(stream)
    await until(lambda: len(second.frames) == 4)
    platform.runner.finish("s1")  # the log is rewritten before the other reader has got the words
    platform._always.clear()
    await until(lambda: any(b"RUN_FINISHED" in event for event in second.events))
    platform.runner.listeners = listeners
    for delta in "ab":
        for listener in listeners["s1"]:
            listener(encode(word(run_id, delta)))
    platform.runner.append("s1", {"type": "CUSTOM", "name": "last"})
    await until(lambda: all(b"last" in one.events[-1] for one in (first, second)))
    for one in (first, second):
        assert [json.loads(event)["delta"] for event in one.events if b"delta" in event] == ["a", "b"]
        await one.close()


async def test_stream_of_a_log_that_was_replaced_ends(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.append("s1", {"type": "RAW", "n": 1})
    one = await reader(backend)
    await until(lambda: platform.streams)
    platform.runner.logs["s1"] = [b'{"type":"RAW","n":2}']
    platform.drop_streams()
    await asyncio.wait_for(one.task, 10)
    with pytest.raises(CursorExpired):
        await reader(backend, after=one.frames[-1].cursor)


async def test_platform_without_a_stream_is_polled(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.always("events", failures.respond(404, b"404 page not found", content_type="text/plain"))
    one = await reader(backend)
    platform.runner.append("s1", {"type": "RAW", "n": 1})
    await until(lambda: len(one.frames) == 1)
    platform.runner.append("s1", {"type": "RAW", "n": 2})
    await until(lambda: len(one.frames) == 2)
    await one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"data: " + b"x" * 10_000,
        b"data:" * 10_000 + b"\n",
        b'data: {"type":"RAW","runId":"r","x":' + b"[" * 100_000 + b"\n\n",
        b'data: {"type":"RAW","n":' + b"1" * 5000 + b"}\n\n",
        b'data: {"type":"RAW","n":1e400}\n\n',
        b'data: {"type":"RAW","text":"\xff\xed\xa0\x80\\ud800"}\n\n' * 3,
        b'data: {"type":["RAW"],"runId":{},"messageId":[],"messages":[7]}\n\n' * 3,
        b"data: []\n\ndata: 7\n\ndata: null\n\n\x00\x1b\n\n",
        b"\x1f\x8b\x08" + b"\x00" * 1000,
    ],
    ids=lambda sent: repr(sent[:40]),
)
async def test_stream_of_nonsense_keeps_nothing_of_the_log_from_a_reader(
    platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(live_log, "Decoder", partial(Decoder, 4096))
    platform.always("events", failures.respond(200, sent, content_type="text/event-stream"))
    one = await reader(backend)
    await until(lambda: platform.operations().count("events") > 1)
    platform.runner.append("s1", {"type": "RAW", "n": 1})
    await until(lambda: any(b'"n":1' in event and len(event) < 100 for event in one.events))
    assert not one.task.done()
    await one.close()


async def test_stream_that_brings_more_than_the_log_has_is_cut(
    platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal closed
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number in itertools.count():
                await response.write(b"data: " + encode(word("r", str(number))) + b"\n\n")
        finally:
            closed += 1
        raise AssertionError

    monkeypatch.setattr(live_log, "MAX_UNREAD_BYTES", 100_000)
    platform.always("events", flood)
    one = await reader(backend)
    await until(lambda: closed > 1)
    assert one.events
    await one.close()


async def test_lines_that_the_stream_drops_come_from_the_export(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend, run_id=run_id)
    await until(lambda: platform.streams)
    listeners, platform.runner.listeners = platform.runner.listeners, {}
    platform.runner.append("s1", {"type": "CUSTOM", "name": "dropped", "runId": run_id, "threadId": "s1"})
    platform.runner.listeners = listeners
    platform.runner.finish("s1")
    await asyncio.wait_for(one.task, 10)
    again = await reader(backend)
    await until(lambda: any(b"dropped" in event for event in again.events))
    await again.close()


async def test_stream_of_a_run_ends_with_an_error_when_its_session_is_deleted(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend, run_id=run_id)
    await until(lambda: one.frames)
    await backend.sessions.delete_session(CALLER, "s1")
    await asyncio.wait_for(one.task, 10)
    assert json.loads(one.events[-1])["type"] == "RUN_ERROR"
    assert one.frames[-1].cursor is None


async def test_run_goes_on_while_its_session_stops(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    one = await reader(backend, run_id=run_id)
    await until(lambda: platform.streams)
    platform.set_phase("demo", "s1", "Stopping")
    before = platform.operations().count("get")
    await until(lambda: platform.operations().count("get") > before + 3)
    assert (await backend.runs.get_run(CALLER, "s1", run_id)).status is RunStatus.RUNNING
    platform.runner.finish("s1")
    await asyncio.wait_for(one.task, 10)
    assert json.loads(one.events[-1])["type"] == "RUN_FINISHED"


async def test_waiting_reader_learns_the_end_of_a_run_from_the_stream(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.pace = "open"
    run_id = (await backend.runs.send_message(CALLER, "s1", HELLO)).value.run_id
    waiting = asyncio.create_task(backend.runs.get_run(CALLER, "s1", run_id, wait=20))
    await until(lambda: platform.streams)
    platform.runner.finish("s1")
    assert (await asyncio.wait_for(waiting, 10)).status is RunStatus.COMPLETED
    await until(lambda: not platform.streams)


async def test_stream_fails_when_the_platform_refuses_the_first_reading(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        return await failures.disconnect(request)

    platform.always("export", cut)
    with pytest.raises(BackendUnavailable):
        await reader(backend)
