"""Event streams as ASGI messages."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.errors import BackendUnavailable
from app.results import EventStream, StreamEvent
from app.server import streaming
from tests.support.asgi import request_context


class Line:
    """A connection, with what was sent over it. The reader of a `stuck` one reads nothing."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.stopping = asyncio.Event()
        self.request_complete = True
        self.aborted = False
        self.left = asyncio.Event()
        self.head: Message = {}
        self.body = b""
        self.complete = False
        self._stuck = stuck

    def abort(self) -> None:
        self.aborted = True
        self.left.set()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.head = message
            return
        if self._stuck:
            await asyncio.Event().wait()
        self.body += message.get("body", b"")
        self.complete = not message.get("more_body", False)

    async def send_stream(self, pages: AsyncGenerator[list[StreamEvent], None], method: str = "GET") -> None:
        context = request_context(method=method, connection=self)
        await streaming.send_event_stream(context, self.receive, self.send, 200, EventStream(pages))


class Pages:
    """Pages that come when a test says so; `closed` once nobody reads them any more."""

    def __init__(self, *pages: list[StreamEvent], then: Exception | None = None, end: bool = False) -> None:
        self.started = False
        self.closed = False
        self.waiting = asyncio.Event()
        self._pages = pages
        self._then = then
        self._end = end

    async def __call__(self) -> AsyncGenerator[list[StreamEvent], None]:
        self.started = True
        try:
            for page in self._pages:
                yield page
            if self._then:
                raise self._then
            self.waiting.set()
            if not self._end:
                await asyncio.Event().wait()
        finally:
            self.closed = True


def test_an_event_is_an_id_and_data_line_by_line() -> None:
    frames = [StreamEvent(b'{"a":1}', "7"), StreamEvent(b'{\n"b":\r\n2\r}'), StreamEvent(b'{"c":"\xe2\x80\xa8"}', "8")]
    assert streaming.encode_events(frames) == (
        b'id: 7\ndata: {"a":1}\n\ndata: {\ndata: "b":\ndata: 2\ndata: }\n\nid: 8\ndata: {"c":"\xe2\x80\xa8"}\n\n'
    )


async def test_a_stream_that_ends_is_complete() -> None:
    line, pages = Line(), Pages([StreamEvent(b"{}", "1")], [], [StreamEvent(b"{}", "2")], end=True)
    await line.send_stream(pages())
    assert (line.body, line.complete) == (b"id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n", True)
    assert (b"content-type", b"text/event-stream") in line.head["headers"]
    assert (b"cache-control", b"no-cache") in line.head["headers"]


async def test_head_starts_no_stream() -> None:
    line, pages = Line(), Pages([StreamEvent(b"{}", "1")])
    await line.send_stream(pages(), "HEAD")
    assert (line.head["status"], line.body, line.complete, pages.started) == (200, b"", True, False)


async def test_silence_is_filled_with_comments_that_have_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.01)
    line, pages = Line(), Pages([StreamEvent(b"{}", "1")])
    task = asyncio.create_task(line.send_stream(pages()))
    async with asyncio.timeout(10):
        while line.body.count(b"\n\n") < 4:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.005)
    line.left.set()
    await task
    assert line.body.startswith(b"id: 1\ndata: {}\n\n: heartbeat\n\n: heartbeat\n\n")
    assert pages.closed


async def test_a_reader_that_left_costs_nothing_after() -> None:
    line, pages = Line(), Pages()
    task = asyncio.create_task(line.send_stream(pages()))
    await pages.waiting.wait()
    line.left.set()
    await task
    assert pages.closed
    assert not line.aborted


async def test_a_reader_that_reads_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.01)
    line, pages = Line(stuck=True), Pages([StreamEvent(b"{}", "1")], [StreamEvent(b"{}", "2")])
    await line.send_stream(pages())
    assert (line.aborted, line.complete, pages.closed) == (True, False, True)


async def test_a_source_that_fails_aborts_the_connection() -> None:
    line, pages = Line(), Pages([StreamEvent(b"{}", "1")], then=BackendUnavailable())
    await line.send_stream(pages())
    assert (line.body, line.aborted, line.complete) == (b"id: 1\ndata: {}\n\n", True, False)


async def test_a_server_that_stops_says_goodbye() -> None:
    line, pages = Line(), Pages([StreamEvent(b"{}", "1")])
    task = asyncio.create_task(line.send_stream(pages()))
    await pages.waiting.wait()
    line.stopping.set()
    await task
    assert (line.body, line.complete) == (b"id: 1\ndata: {}\n\n: the server stops\n\n", True)
    assert pages.closed
