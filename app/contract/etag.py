"""Conditional requests: the tag of an answer before it is made, and 304 where the client has that answer already."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Message, Send
from werkzeug.http import parse_etags

from app.server.context import Request

HEADER = "If-None-Match"
REVISION = 1  # to be raised when the same log reads differently than before
_LONGEST = 4096  # characters of a list of tags that is taken seriously


def etag(version: str, operation_id: str, arguments: Mapping[str, Any]) -> str:
    """The opaque part of a tag; weak, since what compression makes of the same answer has other bytes."""
    parts = msgspec.json.encode([REVISION, version, operation_id, sorted(arguments.items())])
    return hashlib.sha256(parts).hexdigest()[:32]


def is_current(request: Request, tag: str) -> bool:
    """Whether the client says that it has the answer; what is no list of tags says nothing.

    Nor does `*`: whether there is an answer at all is not known yet, while its tag is given with the answer only.
    """
    known = parse_etags(",".join(request.headers.get(HEADER.lower(), ()))[:_LONGEST])
    return not known.star_tag and known.contains_weak(tag)


def with_etag(send: Send, tag: str) -> Send:
    """`send`, whose answer has the tag."""
    header = (b"etag", b'W/"%b"' % tag.encode())

    async def tagging_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], header]}
        await send(message)

    return tagging_send


async def send_not_modified(send: Send) -> None:
    """Answer that nothing has changed."""
    await send({"type": "http.response.start", "status": 304, "headers": []})
    await send({"type": "http.response.body"})
