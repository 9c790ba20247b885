"""A request: its head, its sender and the operation that serves it, and its body."""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from app.errors import BadRequest, Detail, PayloadTooLarge, RequestTimeout
from app.setting_types import Network

MAX_HEAD_BYTES = 65_536  # of a request's target and headers
_KEY = "ambient.request"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class ClientConnection(Protocol):
    """The connection of a request, which the HTTP server puts into the scope's state as `connection`.

    `stopping` is set once the server shuts down. `request_complete` is true once the whole request has arrived.
    """

    stopping: asyncio.Event
    request_complete: bool

    def abort(self) -> None:
        """Close the connection at once and drop what has not been sent."""


class RequestContext:
    """One HTTP request: its head, read once, and facts that are added on the way to a response.

    `RequestMiddleware` attaches it to the ASGI scope, and everything below finds it there by `RequestContext.of`.
    The app that recognises the path sets `operation_id` and `allow`, the path's value of an `Allow` header.

    `headers` has the first value of each header, and `repeated` all values of those that were sent more than once.
    Names of headers are in lower case. `query` is still encoded. `head_bytes` is the size of target and headers.
    `body_pending` says that not all of the body came along with the head. `authorize_again` raises the error of a
    caller whose token is no longer valid; an operation sets it. `foreign` says that a web page of another origin, which
    may not call the API, has sent the request. `caller`, `project` and `session` say for the audit log who has sent it,
    and for what, as far as an operation has found out; `error_code` is the code of the response.
    """

    __slots__ = (
        "allow",
        "authorize_again",
        "body_pending",
        "caller",
        "client_address",
        "connection",
        "error_code",
        "foreign",
        "head_bytes",
        "headers",
        "method",
        "operation_id",
        "path",
        "project",
        "query",
        "repeated",
        "request_id",
        "session",
    )

    def __init__(self, scope: Scope, trusted_proxies: Collection[Network] = ()) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.head_bytes = len(scope["raw_path"]) + len(self.query)
        self.headers: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}
        for raw_name, raw_value in scope["headers"]:
            self.head_bytes += len(raw_name) + len(raw_value) + 4
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in self.headers:
                self.repeated.setdefault(name, [self.headers[name]]).append(value)
            else:
                self.headers[name] = value
        self.authorize_again: Callable[[], Awaitable[object]] | None = None
        self.connection: ClientConnection | None = scope.get("state", {}).get("connection")
        has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self.body_pending = has_body and not (self.connection and self.connection.request_complete)
        peer: str = scope["client"][0] if scope.get("client") else "unknown"
        self.client_address = self._forwarded_address(peer, trusted_proxies) if trusted_proxies else peer
        given = self.headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(given) or "x-request-id" in self.repeated:
            given = f"{random.getrandbits(128):032x}"  # it names a request and guards nothing
        self.request_id = given
        self.operation_id: str | None = None
        self.allow = ""
        self.foreign = False
        self.error_code: str | None = None
        self.caller: str | None = None
        self.project: str | None = None
        self.session: str | None = None

    @classmethod
    def attach(cls, scope: Scope, trusted_proxies: Collection[Network] = ()) -> "RequestContext":
        """Make the context of a new request and attach it to its scope."""
        context = scope[_KEY] = cls(scope, trusted_proxies)
        return context

    @staticmethod
    def of(scope: Scope) -> "RequestContext":
        """Return the context that is attached to a scope."""
        context: RequestContext = scope[_KEY]
        return context

    def combined(self, name: str) -> str:
        """Return all values of a header, whose name is given in lower case, as one comma-separated list."""
        return ",".join(self.repeated[name]) if name in self.repeated else self.headers.get(name, "")

    def reject_repeated(self, *names: str) -> None:
        """Raise `BadRequest` if one of these headers was sent more than once."""
        for name in names:
            if name.lower() in self.repeated:
                raise BadRequest(details=[Detail(f"header.{name}", "must be sent once")])

    def _forwarded_address(self, peer: str, trusted_proxies: Collection[Network]) -> str:
        """Return the address that trusted proxies name in X-Forwarded-For, else the peer's.

        Each proxy appends the address it was called from. So the list is read from its end, as long as the address
        reached so far is a trusted proxy; the header of an untrusted address is ignored.
        """
        forwarded = self.combined("x-forwarded-for").split(",")
        address = parse_address(peer)
        while forwarded and address is not None and any(address in network for network in trusted_proxies):
            before = parse_address(forwarded.pop().strip())
            if before is None:
                break
            address = before
        return str(address or peer)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address written with or without a port, or None. IPv4 mapped into IPv6 is returned as IPv4."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


# Bodies: read within bounds of size and time, and drained when a response is sent before their end

STALL_SECONDS = 30.0  # how long a client may pause within a body
MIN_RATE = 500.0  # bytes a second, below which a client would hold its connection for as long as it likes

# Nearly all of a small body has arrived already. After its end the connection can be used again.
_SMALL_BYTES = 65_536
_SMALL_SECONDS = 0.5
_LINGER_BYTES = 128 * 2**20
_LINGER_SECONDS = 10.0


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete, so nobody waits for a response."""


async def read_body(context: RequestContext, receive: Receive, *, limit: int, stall: float = STALL_SECONDS) -> bytes:
    """Return the whole body, at most `limit` bytes.

    Raises `PayloadTooLarge`, before anything is read if Content-Length exceeds the limit, `RequestTimeout` when nothing
    arrives for `stall` seconds or, after the first of them, less than MIN_RATE, and `ClientDisconnected`.
    """
    _check_content_length(context, limit)
    body, more, now = bytearray(), True, asyncio.get_running_loop().time
    deadline = now() + stall
    while more:
        chunk, more = await _receive_chunk(context, receive, min(stall, deadline + len(body) / MIN_RATE - now()))
        body += chunk
        if len(body) > limit:
            raise PayloadTooLarge
    return bytes(body)


def stream_body(
    context: RequestContext, receive: Receive, *, limit: int, stall: float = STALL_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Return the chunks of a body. Raises as `read_body`: for Content-Length now, else while it is read.

    It may be made while it is sent, so it may be slow.
    """
    _check_content_length(context, limit)

    async def chunks() -> AsyncGenerator[bytes, None]:
        size, more = 0, True
        while more:
            chunk, more = await _receive_chunk(context, receive, stall)
            size += len(chunk)
            if size > limit:
                raise PayloadTooLarge
            yield chunk

    return chunks()


def _check_content_length(context: RequestContext, limit: int) -> None:
    if int(context.headers.get("content-length", 0)) > limit:
        raise PayloadTooLarge


async def _receive_chunk(context: RequestContext, receive: Receive, stall: float) -> tuple[bytes, bool]:
    """Return the next chunk, and whether more of the body follows."""
    arrived = context.connection is not None and context.connection.request_complete
    message = await (receive() if arrived else _receive_within(receive, stall))
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message.get("body", b""), message.get("more_body", False)


async def _receive_within(receive: Receive, seconds: float) -> Message:
    try:
        async with asyncio.timeout(seconds):
            return await receive()
    except TimeoutError as error:
        raise RequestTimeout from error


def lingering_close(context: RequestContext, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return a `receive` and a `send` that deliver a response even while the client is still sending its body.

    A server that closes a connection while unread bytes arrive resets it, and the client loses the response. So the
    remaining body is read and dropped, within bounds: before the response if it is small, so that the connection can be
    used again, else after the response and before the connection is closed.
    """
    body = _Body(receive)

    async def send_and_linger(message: Message) -> None:
        if message["type"] == "http.response.start" and not body.ended:
            # A client that waits for `100 Continue` sends nothing yet, and receiving would invite it to.
            if "expect" not in context.headers:
                await body.drop(limit=_SMALL_BYTES, seconds=_SMALL_SECONDS)
            if not body.ended:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and not body.ended:
            await send({**message, "more_body": True})
            await body.drop(limit=_LINGER_BYTES, seconds=_LINGER_SECONDS)
            message = {"type": "http.response.body"}
        await send(message)

    return body.receive, send_and_linger


class _Body:
    """A request body that records whether its end has been received."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.ended = self.ended or not message.get("more_body", False)
        return message

    async def drop(self, *, limit: int, seconds: float) -> None:
        """Receive and drop until the end, but at most so many bytes or seconds. Do nothing once the server stops."""
        task, dropped = asyncio.current_task(), 0
        if task is not None and task.cancelling():
            return
        try:
            async with asyncio.timeout(seconds):
                while not self.ended and dropped < limit:
                    dropped += len((await self.receive()).get("body", b""))
        except (TimeoutError, asyncio.CancelledError):
            return
