"""One connection to an HTTP/1.1 server: a request, its answer's head, its body in pieces, the next request."""

import asyncio

import httptools

BUFFERED_BYTES = 262_144  # of a body that nobody has taken; above, the socket is not read
_UNPARSED_BYTES = 65_536  # a head, a chunk's extension or a trailer that is longer has no end
_FINAL = 200  # a status below is that of an interim answer


class Connection(asyncio.BufferedProtocol):
    """Carries one exchange at a time; what goes wrong in it raises OSError, of which TimeoutError is one.

    httptools, the parser of the server's own side, finds where an answer ends. `buffer` may be shared by all
    connections of a loop, since what is read is parsed before the next read. `timeout` (seconds) bounds each wait.
    """

    def __init__(self, buffer: memoryview, timeout: float) -> None:
        self._buffer = buffer
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._failure: OSError | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._unparsed = 0
        self._framed = False
        self._begun = False
        self._ended = True
        self._lasts = True
        self.heard = False
        """Whether any byte has come since the request."""
        self.status = 0
        self.media_type = ""
        self.resting_since = 0.0
        """When the last exchange ended, on the loop's clock."""

    # Of an exchange

    def send(self, request: bytes, due: float) -> None:
        """Begin an exchange; the head of its answer has to be there when the loop's clock says `due`."""
        self._due = due
        self._begun = self._ended = self.heard = False
        self._transport.write(request)

    async def head(self) -> None:
        """Wait until `status` and `media_type` are those of the answer."""
        while not self._begun:
            await self._news()

    async def piece(self) -> bytes:
        """All of the body that has come since the last piece, at least one byte; nothing once it has ended."""
        while not self._parts and not self._ended:
            self._due = self._loop.time() + self._timeout
            await self._news()
        piece = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._empty()
        return piece

    def rest(self) -> bool:
        """Whether another exchange can follow; what is left of this one is dropped."""
        self._empty()
        self.resting_since = self._loop.time()
        return self._ended and self._lasts and self.is_fit

    @property
    def is_fit(self) -> bool:
        """Whether both sides hold the connection open."""
        return self._failure is None and not self._transport.is_closing()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _empty(self) -> None:
        self._parts, self._size = [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    async def _news(self) -> None:
        if self._failure:
            raise self._failure
        self._waiter = self._loop.create_future()
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._check_time)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _check_time(self) -> None:
        """Look whether a wait is over its time; one timer lasts for many exchanges."""
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._check_time)
        else:
            self._fail(TimeoutError("no byte came in time"))

    def _fail(self, failure: OSError) -> None:
        self._failure = self._failure or failure
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # Of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a socket's is one
        """Take the transport."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - its signature
        """Where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        self.heard = True
        self._due = self._loop.time() + self._timeout
        self._unparsed += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            failure = ConnectionError("the answer is not valid HTTP")
            failure.__cause__ = error
            self._fail(failure)
        else:
            if self._unparsed > _UNPARSED_BYTES:
                self._fail(ConnectionError("the answer's head does not end"))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange: well if the answer's body goes on to the end of the connection, else not."""
        if self._timer:
            self._timer.cancel()
        if self._begun and not self._framed and exc is None and self._failure is None:
            self._ended = True
        self._failure = self._failure or ConnectionResetError("the connection was closed")
        self._wake()

    # Of the parser

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody has asked for makes the connection useless."""
        if self._ended:
            raise ConnectionError
        self.status, self.media_type, self._framed = 0, "", False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer comes too late to matter."""
        if self._begun:
            return
        match name.lower():
            case b"content-type":
                self.media_type = value.partition(b";")[0].strip().decode("latin-1").lower()
            case b"content-length":
                self._framed = True
            case b"transfer-encoding":
                self._framed = value.lower().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._unparsed = 0
        self.status = self._parser.get_status_code()
        self._begun = self.status >= _FINAL

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._unparsed = 0
        self._parts.append(body)
        self._size += len(body)
        if self._size > BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is there, unless it was an interim one."""
        self._unparsed = 0
        self._ended = self._begun
        self._lasts = self._parser.should_keep_alive()
