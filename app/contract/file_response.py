"""Files as responses: whole, in part (Range), or not at all where the client has them already."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.types import Receive, Send
from werkzeug.http import parse_range_header, unquote_etag

from app.contract.etag import REVALIDATED, is_current
from app.errors import ApiError
from app.results import FileContent
from app.server.context import RequestContext
from app.server.streaming import RawHeaders, send_chunks


# Not in app.errors, whose codes are all in the document, until an operation documents this one.
class RangeNotSatisfiable(ApiError):
    """The file has no bytes in this range; Content-Range gives its size."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """Return the size of the file, as RFC 9110 recommends."""
        return {"Content-Range": f"bytes */{self.size}"}


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
