"""Request bodies: read within bounds of size and time, and drained when a response is sent before their end."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import Message, Receive, Send

from app.errors import PayloadTooLarge, RequestTimeout
from app.server.context import RequestContext

STALL_SECONDS = 30.0  # how long a client may pause within a body

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
    arrives for `stall` seconds, and `ClientDisconnected`.
    """
    _check_content_length(context, limit)
    body, more = bytearray(), True
    while more:
        chunk, more = await _receive_chunk(context, receive, stall)
        body += chunk
        if len(body) > limit:
            raise PayloadTooLarge
    return bytes(body)


def stream_body(
    context: RequestContext, receive: Receive, *, limit: int, stall: float = STALL_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Return the chunks of a body. Raises as `read_body`: for Content-Length now, else while it is read."""
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
