"""One HTTP/1.1 connection: a request and its response, then the next. httptools parses what arrives.

The event loop calls the protocol's methods when bytes arrive, and they feed the parser, which calls the `on_` methods.
The owner of an exchange waits for them one step at a time:

    await send(request)           the head has arrived: `status` and `media_type` are set
    await receive(), receive()…   pieces of the body, then b""
    release()                     True if the connection can serve another request

Only one step waits at a time, on one future. A body that arrives quicker than it is received is buffered up to a limit,
then the socket is no longer read, which slows the server down.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import httptools

IDLE_SECONDS = 15.0
"""Seconds after which an unused connection is closed: less than what most servers and proxies allow."""

_MAX_FRAME_BYTES = 65_536  # of a head, and of what is neither that nor body, such as trailers
_MAX_BUFFERED_BYTES = 262_144  # of a body that has not been received yet
_FINAL = 200  # the lowest status of a response that is not an interim one
_LENGTH_HEADERS = (b"content-length", b"transfer-encoding")


class Connection(asyncio.BufferedProtocol):
    """A connection with the response to the request that was sent last.

    Waiting longer than `timeout` seconds for a whole head, or for the next part of a body, raises `TimeoutError`;
    everything else that fails raises `ConnectionError`. `on_close` is called once the connection has ended. The socket
    is read into `buffer`, which many connections may share, since it is parsed before another socket is read.
    """

    def __init__(self, timeout: float, buffer: bytearray, on_close: Callable[["Connection"], None]) -> None:
        self._timeout = timeout
        self._buffer = memoryview(buffer)
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._in_use = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.media_type = self.media_parameters = ""
        self.received = 0
        """Bytes of the response so far, with its head."""
        self._framing = 0  # of them, those since the last piece of the body
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._has_head = False
        self._has_length = False
        self._complete = False
        self._reusable = False

    # The steps of an exchange

    async def send(self, request: bytes) -> None:
        """Send a request and wait for the head of its response."""
        self._reset()
        self._in_use = True
        self._last_activity = self._loop.time()
        # At the end of this iteration of the event loop, so that requests of one iteration wake the server once.
        self._loop.call_soon(self._write, request)
        while not self._has_head:
            await self._wait()

    async def receive(self) -> bytes:
        """Return the next piece of the body, or b"" at its end."""
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._paused and not self._buffered:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body; `ConnectionError` if it has more than `max_bytes` bytes."""
        body = bytearray()  # a list of pieces would take many times as much memory if they are tiny
        while piece := await self.receive():
            body += piece
            if len(body) > max_bytes:
                raise ConnectionError(f"The body of the response has more than {max_bytes} bytes.")
        return bytes(body)

    def release(self) -> bool:
        """End the exchange and return whether another one may follow; if not, the connection is closed."""
        self._in_use = False
        self._last_activity = self._loop.time()
        if self._reusable and not self._paused and self._error is None:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close the connection at once."""
        self._fail(ConnectionError("The connection was closed."))

    # Called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream has one
        """Start the timer of the connection."""
        self._transport = transport
        self._last_activity = self._loop.time()
        self._timer = self._loop.call_later(min(self._timeout, IDLE_SECONDS), self._check_time)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's argument
        """Return the buffer to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        if self._has_head:
            self._last_activity = self._loop.time()
        self.received += nbytes
        self._framing += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"The response is not HTTP: {error!r}"))
            return
        if self._framing > _MAX_FRAME_BYTES:
            part = "around the body" if self._has_head else "of the head"
            self._fail(ConnectionError(f"The response has more than {_MAX_FRAME_BYTES} bytes {part}."))
        elif self._buffered > _MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange; a body without a length ends with its connection."""
        self._timer.cancel()
        if exc is None and self._error is None and self._has_head and not self._has_length:
            self._complete = True
        self._error = self._error or exc or ConnectionError("The server closed the connection.")
        self._wake()
        self._on_close(self)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Refuse a response that no request is waiting for; forget the headers of an interim one."""
        if self._complete or not self._in_use:
            raise ValueError("a response without a request")
        self.media_type, self.media_parameters, self._has_length = "", "", False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the media type, and whether the body has a length; pass over trailers."""
        if self._has_head:
            return
        name = name.lower()
        if name == b"content-type":
            media_type, _, parameters = value.decode("latin-1").lower().partition(";")
            self.media_type, self.media_parameters = media_type.strip(), parameters.strip()
        elif name in _LENGTH_HEADERS:
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Note the status; an interim response (1xx) is skipped."""
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= _FINAL

    def on_body(self, body: bytes) -> None:
        """Buffer a piece of the body."""
        self._pieces.append(body)
        self._buffered += len(body)
        self._framing = 0

    def on_message_complete(self) -> None:
        """Note the end of the response, and whether the server lets the connection be used again."""
        if self._has_head:
            self._complete, self._reusable = True, self._parser.should_keep_alive()

    # Waiting

    async def _wait(self) -> None:
        """Wait until something has happened to the response; raise if the connection has failed."""
        if self._error:
            raise self._error
        if self._has_head:
            self._last_activity = self._loop.time()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _write(self, request: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(request)

    def _check_time(self) -> None:
        """Fail a wait that takes too long, close a connection that is not in use.

        A connection has one timer for all its exchanges, which is cheaper than one for each wait. It fires at least as
        often as the shorter of both limits. While the reader of a body pauses there is no limit.
        """
        if self._waiter:
            limit = self._timeout
        elif self._in_use:
            limit = None
        else:
            limit = IDLE_SECONDS
        remaining = self._timeout if limit is None else self._last_activity + limit - self._loop.time()
        if remaining > 0:
            self._timer = self._loop.call_later(min(remaining, self._timeout, IDLE_SECONDS), self._check_time)
        elif self._waiter:
            self._fail(TimeoutError())
        else:
            self.abort()

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._wake()
