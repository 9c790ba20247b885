"""uvicorn's HTTP protocol, with bounds on the size and time of a request's head and on a body that never ends.

uvicorn does not promise that `HttpToolsProtocol` stays as it is, so pyproject.toml admits one minor version. Before
another one is admitted, compare what is used of it:

* overridden: connection_made, connection_lost, pause_writing, resume_writing, shutdown, data_received, and the parser's
  callbacks on_message_begin, on_url, on_header, on_headers_complete, on_body and on_message_complete. All but
  data_received call the base's method.
  Of a cycle of HTTP/1.0, send, which calls the base's method too.
* read or called: parser, transport, flow, loop, client, scope, url, headers, pipeline, _unset_keepalive_if_required,
  STATUS_LINE, and of the cycle (one request and its response) disconnected, message_event, more_body, response_started,
  response_complete, chunked_encoding and expected_content_length.
"""

import asyncio
import re
from secrets import token_hex
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.errors import ApiError, BadRequest, HeadersTooLarge, TooManyConnections
from app.server.coalescing import CoalescingTransport
from app.server.connections import Connections
from app.server.error_response import error_response
from app.server.request import MAX_HEAD_BYTES
from app.server.slow_reader import ReaderWatch

HEAD_SECONDS = 30.0  # how long a request's head may take to arrive
_LINGER_SECONDS = 5.0  # how long a refused client may take to read why
_HOST = re.compile(rb"(?:\[[^\s\[\]/?#@\\]*\]|[^\s\[\]/?#@:,\\]*)(?::[0-9]*)?")  # may be empty, as RFC 9112 has it

log = structlog.get_logger()


class BoundedProtocol(HttpToolsProtocol):
    """One connection, which its requests find in the scope's state as a `ClientConnection`.

    The parser of the base class buffers without bound a head, a chunk extension or a trailer that does not end, and
    waits forever for one that does not arrive. Here each has a limit.
    """

    def __init__(self, *arguments: Any, bounds: Connections | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bounds = Connections() if bounds is None else bounds
        self.stopping = asyncio.Event()
        self.request_complete = False
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None  # closes the connection when it fires
        self._progress = False  # whether the parser has finished anything of the data at hand
        self._unparsed_bytes = 0  # received since it last did
        self._replaying_head = False
        self._refused = False
        self._received_at = 0.0  # when data came last

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        """Start to serve, and to wait for the first head."""
        super().connection_made(transport)
        self.transport = CoalescingTransport(transport, self.loop)  # type: ignore[assignment]  # it delegates all else
        self._reader = ReaderWatch(transport, self.loop, self._abort_reader)
        if self._bounds.admit(self, self.client[0] if self.client else "unknown"):
            self._start_timer()
        else:
            self._refuse(TooManyConnections())
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        self._bounds.release(self)
        self._stop_timer()
        self._reader.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Write no more until the client has read, and watch whether it does."""
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """Write again."""
        self._reader.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """Stop endless responses, and close the connection once the current response is complete."""
        self.stopping.set()
        super().shutdown()

    @property
    def idle(self) -> bool:
        """Return whether no request is being served."""
        # The base class's annotation omits that there is no cycle before the first request.
        return not self.pipeline and (not bool(self.cycle) or self.cycle.response_complete)

    @property
    def stalled(self) -> float:
        """Return for how many seconds the server has waited for more of a request's body; 0 if it does not."""
        waits = bool(self.cycle) and self.cycle.more_body and not self.flow.read_paused
        return self.loop.time() - self._received_at if waits else 0.0

    def abort(self) -> None:
        """Close the connection at once and drop what has not been sent."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse data; refuse a client that sends on and on without finishing a head, a chunk or a trailer."""
        if self._refused:
            return
        self._received_at = self.loop.time()
        self._unset_keepalive_if_required()
        self._progress = False
        self._parse(data)
        self._unparsed_bytes = 0 if self._progress else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._refused:
            self._refuse(HeadersTooLarge())
        elif self._in_head and self._timer is None:
            self._start_timer()  # after parsing, because nearly every head arrives whole and needs no timer

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
        if isinstance(error.__context__, ApiError):
            return error.__context__  # raised by a callback
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return BadRequest("The request does not begin with an HTTP method.")
        if len(self.url) >= MAX_HEAD_BYTES:
            return HeadersTooLarge()
        return BadRequest("The request is not valid HTTP.")

    def _decline_upgrade(self) -> None:
        """Continue as if the client had not offered another protocol, as Java's client does with `Upgrade: h2c`.

        The parser takes what follows the head for the other protocol. So a new one is fed a head that only frames the
        body, while the callbacks ignore it.
        """
        framing = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self.parser = httptools.HttpRequestParser(self)
        self._replaying_head = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
        self._replaying_head = False

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._replaying_head:
            return
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self.request_complete = False
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Add a part of the target."""
        if not self._replaying_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; drop a trailer, since the request was judged by its head."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request, whose head is complete."""
        if self._replaying_head:
            return
        self._progress = True
        self._in_head = False
        self._stop_timer()
        self._check_host()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            _send_without_chunks(self.cycle)

    def _check_host(self) -> None:
        """Refuse a head that names no host or several: a proxy and this server might each go by another one."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if not hosts and self.parser.get_http_version() < "1.1":
            return
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise BadRequest("The request must have one Host header, with a host and perhaps a port.")

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete the request; where an upgrade is offered, only its head is complete."""
        self._progress = True
        if not self.parser.should_upgrade():
            self.request_complete = True
            super().on_message_complete()

    # Refusals

    def _refuse(self, error: ApiError) -> None:
        """Respond in place of the app and close, after a moment in which the client can read the response."""
        self._refused = True
        self._stop_timer()
        if self._owes_response():
            self.transport.close()
            return
        # The base class's annotation omits that there is no cycle before the first request.
        if bool(self.cycle):
            self.cycle.disconnected = True  # no more of this request's body can be read
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
        log.info("request_refused", request_id=request_id, status=status, code=error.code, client=client)

    def _owes_response(self) -> bool:
        """Return whether an earlier request still waits for its response, so that one now would be out of turn."""
        due = bool(self.cycle) and not self.cycle.response_complete
        return bool(self.pipeline) or (due and (self.cycle.response_started or not self.cycle.more_body))

    def _abort_reader(self) -> None:
        log.warning("response_aborted", reason="slow_reader", client=self.client[0] if self.client else "unknown")
        self.abort()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _send_without_chunks(cycle: RequestResponseCycle) -> None:
    """Make a response end with its connection, because HTTP/1.0 has no chunks. uvicorn closes the connection anyway."""
    send = cycle.send

    async def send_unframed(message: Any) -> None:
        if message["type"] == "http.response.body":
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.chunked_encoding = False
    cycle.send = send_unframed  # type: ignore[method-assign]  # uvicorn has no other place for it
