"""Answers over ASGI that go on: event streams, and bodies in pieces; the end of readers that leave or are too slow."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from app.errors import ApiError
from app.results import EventStream, StreamedJson, StreamEvent
from app.server.context import ClientConnection

HEARTBEAT_SECONDS = 15.0
SEND_SECONDS = 25.0
"""How long a reader may take for what is sent at once; with the heartbeat less than the 45 s that are promised."""

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold frames back
]
_JSON_HEADERS = [(b"content-type", b"application/json")]

log = structlog.get_logger()


class SlowReader(Exception):
    """The reader does not take what is sent."""


async def send_stream(scope: Scope, receive: Receive, send: Send, status: int, stream: EventStream) -> None:
    """Send the stream until it ends, the reader leaves or the server stops; a broken stream cuts the connection."""
    await send({"type": "http.response.start", "status": status, "headers": [*_HEADERS]})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
        return
    async with _watch_disconnect(scope, receive, "an event stream broke") as gone:
        frames = _Frames(stream.pages, send)
        sending, stopping = asyncio.ensure_future(frames.send()), asyncio.ensure_future(stopped(scope))
        try:
            while not (gone.done() or stopping.done() or sending.done()):
                await asyncio.wait({gone, stopping, sending}, timeout=frames.quiet, return_when=asyncio.FIRST_COMPLETED)
                await frames.fill_silence()
            if gone.done():
                return
            if stopping.done():
                await cancel(sending)
                last = encode(stream.on_shutdown()) + b": the server stops\n\n"
            else:
                sending.result()
                last = b""
            await _send_in_time(send, last, more=False)
        finally:
            await cancel(sending, stopping)
            await stream.pages.aclose()


class _Frames:
    """The frames of one stream on their way to a reader."""

    def __init__(self, pages: AsyncGenerator[list[StreamEvent], None], send: Send) -> None:
        self._pages = pages
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._last = self._now()
        self._busy = False

    async def send(self) -> None:
        """Send pages as they come, to their end."""
        async for page in self._pages:
            if page:
                self._busy = True
                await _send_in_time(self._send, encode(page))
                self._busy, self._last = False, self._now()

    @property
    def quiet(self) -> float:
        """Seconds until a heartbeat may be due."""
        return HEARTBEAT_SECONDS if self._busy else max(0.0, self._last + HEARTBEAT_SECONDS - self._now())

    async def fill_silence(self) -> None:
        """Send a heartbeat if one is due."""
        if not self._busy and self._now() >= self._last + HEARTBEAT_SECONDS:
            self._last = self._now()
            await _send_in_time(self._send, b": heartbeat\n\n")


async def send_pieces(scope: Scope, receive: Receive, send: Send, status: int, answer: StreamedJson) -> None:
    """Send a body piece by piece until it ends or the reader leaves; a broken one cuts the connection.

    The length of a body of one piece is told.
    """
    async with aclosing(answer.pieces) as pieces:
        first = await anext(pieces)
        second = await anext(pieces, None)
        length = [(b"content-length", b"%d" % len(first))] if second is None else []
        await send({"type": "http.response.start", "status": status, "headers": [*_JSON_HEADERS, *length]})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        async with _watch_disconnect(scope, receive, "a body broke") as gone:
            await _send_in_time(send, first, more=second is not None)
            if second is None:
                return
            await _send_in_time(send, second)
            async for piece in pieces:
                if gone.done():
                    return
                await _send_in_time(send, piece)
            await _send_in_time(send, b"", more=False)


@asynccontextmanager
async def _watch_disconnect(scope: Scope, receive: Receive, broke: str) -> AsyncIterator["asyncio.Future[None]"]:
    """What is done once the reader has left; an answer that breaks meanwhile is logged as `broke`, and cut."""
    connection: ClientConnection | None = scope.get("state", {}).get("connection")
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        yield gone
    except (ApiError, SlowReader) as error:
        if connection is None:
            raise
        log.warning(broke, reason=getattr(error, "code", "too_slow"))
        connection.abort()
        await gone
    finally:
        await cancel(gone)


def encode(frames: Iterable[StreamEvent]) -> bytes:
    """Server-sent events; a line break in an event, which JSON allows between its tokens, begins a new data line."""
    return b"".join(
        b"%b%b\n"
        % (
            b"" if frame.position is None else b"id: %d\n" % frame.position,
            b"".join(b"data: %b\n" % line for line in bytes(frame.event).splitlines()),
        )
        for frame in frames
    )


async def _send_in_time(send: Send, chunk: bytes, *, more: bool = True) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
    except TimeoutError as error:
        raise SlowReader from error


async def disconnected(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def stopped(scope: Scope) -> None:
    """Return once the server that this request came to stops."""
    connection: ClientConnection | None = scope.get("state", {}).get("connection")
    await (connection.stopping if connection else asyncio.Event()).wait()


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """End tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
