"""What a handler returned as ASGI messages."""

import asyncio
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from app.results import Created, EventStream, LongPoll, StreamedJson, TextResponse
from app.server.streaming import cancel, disconnected, send_pieces, send_stream, stopped

_encode = msgspec.json.Encoder().encode


async def send_response(scope: Scope, receive: Receive, send: Send, status: int, result: Any) -> None:
    """Send the result of a handler: a value, one of `app.results`, or None."""
    if isinstance(result, EventStream):
        await send_stream(scope, receive, send, status, result)
        return
    if isinstance(result, StreamedJson):
        await send_pieces(scope, receive, send, status, result)
        return
    if isinstance(result, LongPoll):
        result = await _long_poll(scope, receive, result)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(result, Created):
        headers.append((b"location", result.location.encode("ascii")))
        if result.replayed:
            headers.append((b"idempotency-replayed", b"true"))
        result = result.body
    content, kind = b"", b"application/json"
    if isinstance(result, TextResponse):
        content, kind = result.text.encode(), b"text/plain; charset=utf-8"
    elif result is not None:
        content = _encode(result)
    if result is not None:
        headers += [(b"content-type", kind), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _long_poll(scope: Scope, receive: Receive, waited: LongPoll) -> Any:
    if not waited.seconds:
        return await waited.result
    answer = asyncio.ensure_future(waited.result)
    ends = [asyncio.ensure_future(stopped(scope)), asyncio.ensure_future(disconnected(receive))]
    try:
        await asyncio.wait([answer, *ends], return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else await waited.current()
    finally:
        await cancel(answer, *ends)
