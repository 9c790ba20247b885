"""Long responses: event streams, and bodies that are sent while they are produced.

A response ends early when its client disconnects or does not read, when the server stops, or when its source fails.
Once the head is sent, a failure can only abort the connection: the client must not take a part for the whole.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import structlog
from starlette.types import Receive, Send

from app.errors import ApiError, Forbidden, TooManyStreams, Unauthorized
from app.results import EventStream, StreamEvent
from app.server.request import RequestContext

RawHeaders = list[tuple[bytes, bytes]]
"""Response headers as ASGI has them; names are in lower case."""

HEARTBEAT_SECONDS = 15.0
SEND_SECONDS = 25.0
"""How long a client may take to read one part. With a heartbeat it is less than the 45 s that the document promises."""

_EVENT_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would buffer the events
]

log = structlog.get_logger()


class SlowReader(Exception):
    """The client does not read its response."""


# Event streams


class OpenStreams:
    """The event streams and long polls that tokens hold open, at most `limit` of each."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def hold(self, token: str) -> Iterator[None]:
        """Count one more of a token during the block; `TooManyStreams`."""
        if self._limit is not None and self._open[token] >= self._limit:
            raise TooManyStreams
        self._open[token] += 1
        try:
            yield
        finally:
            self._open[token] -= 1
            if not self._open[token]:
                del self._open[token]


async def send_event_stream(
    context: RequestContext, receive: Receive, send: Send, status: int, stream: EventStream
) -> None:
    """Send a stream of events until it ends, its token does, the client disconnects or the server stops."""
    await send({"type": "http.response.start", "status": status, "headers": [*_EVENT_STREAM_HEADERS]})
    if context.method == "HEAD":
        await send({"type": "http.response.body"})
        return
    async with _watch_client(context, receive, "event_stream_aborted") as client_left:
        writer = _EventWriter(stream.pages, send)
        writing, stopping = asyncio.ensure_future(writer.write()), asyncio.ensure_future(server_stop(context))
        expiring = asyncio.ensure_future(token_end(context))
        try:
            ends: set[asyncio.Future[Any]] = {client_left, stopping, expiring, writing}
            while not any(end.done() for end in ends):
                await asyncio.wait(ends, timeout=writer.quiet_for, return_when=asyncio.FIRST_COMPLETED)
                await writer.send_heartbeat_if_due()
            if client_left.done():
                return
            if stopping.done():
                await cancel(writing)
                last = encode_events(stream.on_shutdown()) + b": the server stops\n\n"
            elif expiring.done():
                expiring.result()
                await cancel(writing)
                last = b": the token is no longer valid\n\n"
            else:
                writing.result()
                last = b""
            await _send_chunk(send, last, more=False)
        finally:
            await cancel(writing, stopping, expiring)
            await stream.pages.aclose()


class _EventWriter:
    """Writes the pages of one stream to its client, and heartbeats while there are none."""

    def __init__(self, pages: AsyncGenerator[list[StreamEvent], None], send: Send) -> None:
        self._pages = pages
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._last_sent = self._now()
        self._sending = False

    async def write(self) -> None:
        """Send all pages, each once the client has read the one before."""
        async for page in self._pages:
            if page:
                self._sending = True
                await _send_chunk(self._send, encode_events(page))
                self._sending, self._last_sent = False, self._now()

    @property
    def quiet_for(self) -> float:
        """Return the seconds until a heartbeat may be due."""
        if self._sending:
            return HEARTBEAT_SECONDS
        return max(0.0, self._last_sent + HEARTBEAT_SECONDS - self._now())

    async def send_heartbeat_if_due(self) -> None:
        """Send a comment if nothing has been sent for a while."""
        if not self._sending and self._now() >= self._last_sent + HEARTBEAT_SECONDS:
            self._last_sent = self._now()
            await _send_chunk(self._send, b": heartbeat\n\n")


def encode_events(events: Iterable[StreamEvent]) -> bytes:
    """Return server-sent events. A line break, which JSON allows between tokens, begins another `data` line."""
    return b"".join(
        b"%b%b\n"
        % (
            b"" if event.cursor is None else b"id: %b\n" % event.cursor.encode(),
            b"".join(b"data: %b\n" % line for line in bytes(event.event).splitlines()),
        )
        for event in events
    )


# Bodies in chunks


async def send_chunks(
    context: RequestContext,
    receive: Receive,
    send: Send,
    body: AsyncGenerator[bytes, None],
    *,
    status: int,
    headers: RawHeaders,
    length: int | None = None,
) -> None:
    """Send a body while it is produced, until it ends or the client disconnects.

    An error before the first chunk is raised before anything is sent. `length` is that of the body in bytes, if it is
    known; the length of a single chunk always is.
    """
    async with aclosing(body) as chunks:
        first = await anext(chunks, b"")
        second = await anext(chunks, None)
        if second is None:
            length = len(first)
        if length is not None:
            headers = [*headers, (b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if context.method == "HEAD":
            await send({"type": "http.response.body"})
            return
        async with _watch_client(context, receive, "response_aborted") as client_left:
            await _send_chunk(send, first, more=second is not None)
            if second is None:
                return
            await _send_chunk(send, second)
            async for chunk in chunks:
                if client_left.done():
                    return
                await _send_chunk(send, chunk)
            await _send_chunk(send, b"", more=False)


async def _send_chunk(send: Send, chunk: bytes, *, more: bool = True) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
    except TimeoutError as error:
        raise SlowReader from error


# The end of a connection


@asynccontextmanager
async def _watch_client(
    context: RequestContext, receive: Receive, log_event: str
) -> AsyncIterator["asyncio.Future[None]"]:
    """Yield a future that is done once the client has disconnected.

    If sending fails meanwhile, log that and abort the connection.
    """
    client_left = asyncio.ensure_future(client_disconnect(receive))
    try:
        yield client_left
    except (ApiError, SlowReader) as error:
        if context.connection is None:
            raise
        log.warning(log_event, reason=getattr(error, "code", "slow_reader"))
        context.connection.abort()
        await client_left
    finally:
        await cancel(client_left)


async def client_disconnect(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def server_stop(context: RequestContext) -> None:
    """Wait until the server stops."""
    await (context.connection.stopping if context.connection else asyncio.Event()).wait()


async def token_end(context: RequestContext) -> ApiError:
    """Wait until the token of a request is no longer valid; return the error that says why.

    The token is checked every HEARTBEAT_SECONDS. A backend that cannot check it at the moment ends nothing.
    """
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            if context.authorize_again:
                await context.authorize_again()
        except (Unauthorized, Forbidden) as error:
            return error
        except ApiError:
            log.warning("token_check_failed", exc_info=True)


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
