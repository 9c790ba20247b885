"""What a handler returned as ASGI messages."""

from typing import Any

import msgspec
from starlette.types import Send

from app.types import Located

_encode = msgspec.json.Encoder().encode


async def send_answer(send: Send, status: int, result: Any, *, replayed: bool) -> None:
    """Send what a handler returned: a value, one with its location, or None for an empty answer.

    `replayed` says that it is the answer to an earlier request.
    """
    headers = [(b"idempotency-replayed", b"true")] if replayed else []
    if isinstance(result, Located):
        headers.append((b"location", result.location.encode("ascii")))
        result = result.body
    content = b""
    if result is not None:
        content = _encode(result)
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
