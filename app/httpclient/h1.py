"""One HTTP/1.1 connection to a server: a request and its answer, then the next, read by httptools."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import httptools

KEPT_SECONDS = 15.0
"""How long a connection without work is kept: less than servers and proxies usually grant."""

_MAX_HEAD_BYTES = 65_536
_MAX_HELD_BYTES = 262_144  # of a body that its reader has not taken yet
_FRAMING = (b"content-length", b"transfer-encoding")


class Connection(asyncio.BufferedProtocol):
    """A connection, and the answer to what was sent last: `status`, `media_type`, then the body, whole or in pieces.

    A wait of more than `seconds` for the server ends with a TimeoutError, all else that goes wrong with a
    ConnectionError. `lost` is told once the connection has ended. What comes is read into `buffer`, which connections
    share: nothing is left in it once they have been told.
    """

    def __init__(self, seconds: float, buffer: bytearray, lost: Callable[["Connection"], None]) -> None:
        self._seconds = seconds
        self._buffer = memoryview(buffer)
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._error: Exception | None = None
        self._news: asyncio.Future[None] | None = None
        self._prepare(bounded=False)

    def _prepare(self, *, bounded: bool) -> None:
        self.status = 0
        self.media_type = ""
        self.received = 0
        """Bytes of the answer."""
        self._bounded = bounded
        self._body: deque[bytes] = deque()
        self._held = 0
        self._paused = self._headed = self._framed = self._complete = self._lasts = False

    # What a pool does

    async def send(self, request: bytes, *, bounded: bool) -> None:
        """Send a request and wait for the head of its answer; a bounded body is read no quicker than it is taken."""
        self._prepare(bounded=bounded)
        self._busy = True
        # At the end of this round of the loop: the server is woken once for the requests of a round.
        self._loop.call_soon(self._write, request)
        while not self._headed:
            await self._wait()

    async def body(self) -> bytes:
        """The whole body."""
        while not self._complete:
            await self._wait()
        return b"".join(self._body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces."""
        while True:
            if self._body:
                piece = self._body.popleft()
                self._held -= len(piece)
                if self._paused and not self._held:
                    self._paused = False
                    self._transport.resume_reading()
                yield piece
            elif self._complete:
                return
            else:
                await self._wait()

    def release(self) -> bool:
        """End the exchange, and say whether another can follow; if not, the connection is cut."""
        self._busy = False
        self._since = self._loop.time()
        if self._lasts and not self._paused and self._error is None:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Cut the connection."""
        self._fail(ConnectionError("The connection was closed."))

    # What the event loop tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream has one
        """Begin, without work."""
        self._transport = transport
        self._busy = False
        self._since = self._loop.time()
        self._timer = self._loop.call_later(min(self._seconds, KEPT_SECONDS), self._look)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's argument
        """Say where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read on."""
        self._since = self._loop.time()
        self.received += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"The answer is not HTTP: {error!r}"))
            return
        if not self._headed and self.received > _MAX_HEAD_BYTES:
            self._fail(ConnectionError("The head of the answer is too large."))
        elif self._bounded and self._held > _MAX_HELD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; a body whose length nobody has told ends with it."""
        self._timer.cancel()
        if exc is None and self._error is None and self._headed and not self._framed:
            self._complete = True
        self._error = self._error or exc or ConnectionError("The server closed the connection.")
        self._tell()
        self._lost(self)

    # What the parser tells

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._complete or not self._busy:
            raise ValueError("nobody has asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for what a reader wants to know."""
        name = name.lower()
        if name == b"content-type":
            self.media_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name in _FRAMING:
            self._framed = True

    def on_headers_complete(self) -> None:
        """The head is there, if it is not that of an interim answer."""
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200  # noqa: PLR2004 - where the final answers begin

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._body.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """The answer is there."""
        if self._headed:
            self._complete, self._lasts = True, self._parser.should_keep_alive()

    # Waiting

    async def _wait(self) -> None:
        """Return once there is news."""
        if self._error:
            raise self._error
        self._since = self._loop.time()
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _tell(self) -> None:
        if self._news and not self._news.done():
            self._news.set_result(None)

    def _write(self, request: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(request)

    def _look(self) -> None:
        """End a wait that has lasted too long, or a connection without work; a reader's own pause has no limit.

        One timer looks after all exchanges of a connection. It never sleeps longer than the shortest of its limits.
        """
        limit = self._seconds if self._news else None if self._busy else KEPT_SECONDS
        left = self._seconds if limit is None else self._since + limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(min(left, self._seconds, KEPT_SECONDS), self._look)
        elif self._news:
            self._fail(TimeoutError())
        else:
            self.abort()

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._tell()
