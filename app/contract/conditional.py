"""Conditional and partial responses: the entity tags of resources, and files, whole or in part."""

import hashlib
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import Receive, Send
from werkzeug.http import parse_etags, parse_range_header, unquote_etag

from app.errors import RangeNotSatisfiable
from app.results import FileContent
from app.server.request import RequestContext
from app.server.streaming import RawHeaders, send_chunks

# Entity tags

IF_NONE_MATCH = "If-None-Match"
REVISION = 1
"""To be raised when the same state gets another representation than before."""

REVALIDATED = (b"cache-control", b"private, no-cache")
"""The header of a response with a tag: only the client itself may store it, and has to ask before it uses it again."""

_LONGEST = 4096  # characters of a list of tags that are read


def etag(version: str, operation_id: str, arguments: Mapping[str, Any]) -> str:
    """Return the opaque part of the tag of an operation's response to these arguments, while its data has a version.

    To be sent as a weak tag, since the bytes of the response differ with its compression.
    """
    parts = msgspec.json.encode([REVISION, version, operation_id, sorted(arguments.items())])
    return hashlib.sha256(parts).hexdigest()[:32]


def is_current(context: RequestContext, tag: str) -> bool:
    """Return whether the client has the state that a tag identifies. A header that is not a list of tags is ignored.

    `*` is ignored too, since it depends on whether the resource exists, which is not known yet.
    """
    if IF_NONE_MATCH.lower() not in context.headers:
        return False
    known = parse_etags(context.combined(IF_NONE_MATCH.lower())[:_LONGEST])
    return not known.star_tag and known.contains_weak(tag)


# Files


async def send_file(
    context: RequestContext,
    receive: Receive,
    send: Send,
    file: FileContent,
    *,
    documented: Collection[int],
    headers: RawHeaders,
) -> None:
    """Send a file with 200, 206 or 304, or raise `RangeNotSatisfiable`. Only documented statuses are used.

    `headers` has the Content-Type.
    """
    tag = (b"etag", b'"%b"' % file.etag.encode())
    if HTTPStatus.NOT_MODIFIED in documented and is_current(context, file.etag):
        await send({"type": "http.response.start", "status": 304, "headers": [tag, REVALIDATED]})
        await send({"type": "http.response.body"})
        return
    status, start, end = 200, 0, file.size
    headers = [*headers, tag, REVALIDATED]
    if HTTPStatus.PARTIAL_CONTENT in documented:
        headers.append((b"accept-ranges", b"bytes"))
        if span := _requested_range(context, file):
            status, (start, end) = 206, span
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, file.size)))
    length = end - start
    if context.method == "HEAD" or length == 0:
        headers.append((b"content-length", b"%d" % length))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body"})
        return
    chunks = file.read(start, end)
    await send_chunks(context, receive, send, chunks, status=status, headers=headers, length=length)


def _requested_range(context: RequestContext, file: FileContent) -> tuple[int, int] | None:
    """Return start and end of the requested part, None for the whole file.

    A Range that is malformed, in other units or of several parts is ignored, and so is one for another state (If-Range)
    or with another method than GET.
    """
    ranges = parse_range_header(context.headers.get("range"))
    if context.method != "GET" or ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return None
    if (condition := context.headers.get("if-range")) and unquote_etag(condition) != (file.etag, False):
        return None
    start, end = ranges.ranges[0]
    if start < 0:  # the last bytes, as many of them as there are
        start = max(0, file.size + start)
    end = file.size if end is None else min(end, file.size)
    if start >= end:
        raise RangeNotSatisfiable(file.size)
    return start, end
