"""What one client may take: the rate of its requests, the size and time of a body, and a bounded farewell."""

import asyncio
import math
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send
from throttled import MemoryStore, RateLimiterType, Throttled, per_sec

from app.errors import PayloadTooLarge, RequestTimeout, TooManyRequests
from app.request import Request
from app.settings import Network

_MAX_CLIENTS = 65_536  # about 30 MB when full; the least recently seen client makes room

# A small body is mostly there already: waiting for it keeps the connection in use.
_SMALL_BYTES = 65_536
_SMALL_SECONDS = 0.5
_LINGER_BYTES = 128 * 2**20
_LINGER_SECONDS = 10.0


class Connection(Protocol):
    """What the server offers in the scope's state as `connection`.

    `stopping` is set once the server stops. `request_complete` says that no more of the request is waited for.
    """

    stopping: asyncio.Event
    request_complete: bool

    def abort(self) -> None:
        """Cut the connection and drop what has not been sent."""


class ClientDisconnected(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


# Bodies


async def read_body(scope: Scope, receive: Receive, *, limit: int, stall: float = 30.0) -> bytes:
    """The whole request body, at most `limit` bytes; the edge has put its `head` into the scope.

    Raises PayloadTooLarge (before reading, where Content-Length tells), RequestTimeout when nothing arrives for
    `stall` seconds, and ClientDisconnected.
    """
    length = scope["head"].first("content-length")
    if length is not None and int(length) > limit:
        raise PayloadTooLarge
    body = bytearray()
    while True:
        message = await (receive() if is_complete(scope) else _arriving(receive, stall))
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLarge
        if not message.get("more_body", False):
            return bytes(body)


async def _arriving(receive: Receive, stall: float) -> Message:
    try:
        async with asyncio.timeout(stall):
            return await receive()
    except TimeoutError as error:
        raise RequestTimeout from error


def is_complete(scope: Scope) -> bool:
    """Whether the request is known to be here to its end."""
    connection: Connection | None = scope.get("state", {}).get("connection")
    return connection is not None and connection.request_complete


def announces_body(request: Request) -> bool:
    """Whether a body follows the head."""
    return "transfer-encoding" in request.headers or request.first("content-length") not in {None, "0"}


def lingering(request: Request, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """`receive` and `send` of a request whose body still comes, so that an answer reaches a client who sends on.

    A server that closes while unread bytes arrive resets the connection, and the client loses the answer. So what is
    left of the body is read and dropped before the connection is let go, within bounds.
    """
    body = _Body(receive)

    async def send_and_linger(message: Message) -> None:
        if message["type"] == "http.response.start" and not body.ended:
            # A client that waits for `100 Continue` sends nothing now, and shall not be told to.
            if "expect" not in request.headers:
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
    """A request body that knows whether it has been read to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.ended = self.ended or not message.get("more_body", False)
        return message

    async def drop(self, *, limit: int, seconds: float) -> None:
        """Read and forget until the end, or for so many bytes or seconds; not at all once the server stops."""
        task, dropped = asyncio.current_task(), 0
        if task is not None and task.cancelling():
            return
        try:
            async with asyncio.timeout(seconds):
                while not self.ended and dropped < limit:
                    dropped += len((await self.receive()).get("body", b""))
        except (TimeoutError, asyncio.CancelledError):
            return


# Rates


class RateLimiter:
    """A token bucket per client, in memory: `burst` requests at once, refilled at `rps` a second."""

    def __init__(self, rps: int, burst: int) -> None:
        # GCRA is the token bucket reckoned with one instant per client; the library's class of that name counts in
        # whole seconds of the wall clock.
        self._buckets = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_sec(rps, burst=burst),
            store=MemoryStore(options={"MAX_SIZE": _MAX_CLIENTS}),
        ).limiter

    def take(self, client: str) -> None:
        """Count one request of `client`, raise TooManyRequests if it was one too many."""
        result = self._buckets.limit(_bucket(client))
        if result.limited:
            raise TooManyRequests(max(1, math.ceil(result.state.retry_after)))


def client_address(scope: Scope, trusted: Collection[Network]) -> str:
    """The address that a request comes from: the peer, or what trusted proxies say in X-Forwarded-For.

    The header is read from the right, past proxies in `trusted`; what an untrusted address says is not believed.
    """
    peer: str = scope["client"][0] if scope.get("client") else "unknown"
    if not trusted:
        return peer
    named = [
        part.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
    ]
    address = _address(peer)
    while named and address is not None and any(address in network for network in trusted):
        before = _address(named.pop())
        if before is None:
            break
        address = before
    return str(address or peer)


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port, an IPv4 one inside an IPv6 one taken out; None if it is none."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def _bucket(client: str) -> str:
    """Who shares a bucket: one IPv4 address, or one IPv6 /64, since a single host owns all of it."""
    address = _address(client)
    return str(IPv6Network((int(address), 64), strict=False)) if isinstance(address, IPv6Address) else client
