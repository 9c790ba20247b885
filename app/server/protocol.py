"""uvicorn's HTTP protocol with bounds: on the size and time of a request's head, and on waiting for a lost body."""

import asyncio
from secrets import token_hex
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import ApiError, BadRequest, HeadersTooLarge
from app.server.coalescing import CoalescingTransport
from app.server.error_response import MAX_HEADER_BYTES, error_response

HEAD_SECONDS = 30.0
_LINGER_SECONDS = 5.0


log = structlog.get_logger()


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    The parser of the base class grows without bound on a head, a chunk extension or a trailer that does not end, and
    waits for ever for one that does not come. Here both have an end. A request finds its connection in the scope's
    state: it can learn there that the server stops, and cut the connection.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._progress = False
        self._unparsed = 0
        self._in_head = True
        self._replaying_head = False
        self._refused = False
        self._timer: asyncio.TimerHandle | None = None
        self.stopping = asyncio.Event()
        self.request_complete = False

    # Of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        """Expect a first request soon."""
        super().connection_made(transport)
        self.transport = CoalescingTransport(transport, self.loop)  # type: ignore[assignment]  # it is one, by delegation
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let an answer that would go on end, and close then."""
        self.stopping.set()
        super().shutdown()

    def abort(self) -> None:
        """Cut the connection and drop what has not been sent."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse, and give up on a client that sends and sends without getting anywhere."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._progress = False
        self._parse(data)
        self._unparsed = 0 if self._progress else self._unparsed + len(data)
        if self._unparsed > MAX_HEADER_BYTES and not self._refused:
            self._refuse(HeadersTooLarge())
        elif self._in_head and self._timer is None:
            self._start_timer()  # nearly every head is here at once and needs none

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._decline_upgrade()
            except httptools.HttpParserError as error:
                self._refuse(self._to_api_error(error))
                return
            else:
                return

    def _to_api_error(self, error: httptools.HttpParserError) -> ApiError:
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return BadRequest("The request does not begin with a method of HTTP.")
        if len(self.url) >= MAX_HEADER_BYTES:
            return HeadersTooLarge()
        return BadRequest("The request is not valid HTTP.")

    def _decline_upgrade(self) -> None:
        """Read on as if the client had not offered another protocol, as Java's client does with `Upgrade: h2c`.

        The old parser takes what follows for that protocol; a new one is told how the body is framed.
        """
        framing = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self.parser = httptools.HttpRequestParser(self)
        self._replaying_head = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
        self._replaying_head = False

    # Of the parser

    def on_message_begin(self) -> None:
        """A request begins: its head must end in time."""
        if self._replaying_head:
            return
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self.request_complete = False
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        if not self._replaying_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer comes after the request was judged by its head and is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self._replaying_head:
            return
        self._progress = True
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there; with an offer to upgrade, only its head is."""
        self._progress = True
        if not self.parser.should_upgrade():
            self.request_complete = True
            super().on_message_complete()

    # Ends

    def _refuse(self, error: ApiError) -> None:
        """Answer in the app's place and close, with a moment for the client to read while it still sends."""
        self._refused = True
        self._stop_timer()
        if self._is_answering():
            self.transport.close()
            return
        # The base class's annotation leaves out that there is no cycle before the first request.
        if bool(self.cycle):
            self.cycle.disconnected = True  # nobody answers a request whose body cannot be read any further
            self.cycle.message_event.set()
        request_id = token_hex(16)
        status, headers, body = error_response(error, request_id)
        headers |= {"x-request-id": request_id, "connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + lines.encode("latin-1") + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        client = self.client[0] if self.client else "unknown"
        log.info("refused", request_id=request_id, status=status, code=error.code, client=client)

    def _is_answering(self) -> bool:
        """Whether an answer to an earlier request is due or under way, so that another would come out of turn."""
        due = bool(self.cycle) and not self.cycle.response_complete
        return bool(self.pipeline) or (due and (self.cycle.response_started or not self.cycle.more_body))

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
