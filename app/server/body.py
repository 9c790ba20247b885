"""What one client may take: the rate of its requests, the size and time of a body, and a bounded farewell."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from app.errors import PayloadTooLarge, RequestTimeout
from app.server.context import ClientConnection, Request

# A small body is mostly there already: waiting for it keeps the connection in use.
_SMALL_BYTES = 65_536
_SMALL_SECONDS = 0.5
_LINGER_BYTES = 128 * 2**20
_LINGER_SECONDS = 10.0


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
    connection: ClientConnection | None = scope.get("state", {}).get("connection")
    return connection is not None and connection.request_complete


def announces_body(request: Request) -> bool:
    """Whether a body follows the head."""
    return "transfer-encoding" in request.headers or request.first("content-length") not in {None, "0"}


def lingering_close(request: Request, receive: Receive, send: Send) -> tuple[Receive, Send]:
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
