"""Results of operations that are more than a plain value: replays, streams and files.

Handlers return what the port returns. A plain value is one of `app.models`, a text, or None.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Idempotent(msgspec.Struct, Generic[T], frozen=True):
    """The result of an operation that takes an Idempotency-Key; `replayed` if it is that of an earlier request."""

    value: T
    replayed: bool = False


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream in JSON, with the cursor after it; None for an event outside of the session's log."""

    event: bytes | msgspec.Raw
    cursor: str | None = None


class EventStream(msgspec.Struct, frozen=True):
    """Events in pages, as they happen. No resources are held until the iteration begins.

    `on_shutdown` makes the last events of a client that is disconnected because the server stops.
    """

    pages: AsyncGenerator[list[StreamEvent], None]
    on_shutdown: Callable[[], list[StreamEvent]] = list


class StreamedBody(msgspec.Struct, frozen=True):
    """A long value in the operation's media type, in chunks as it is produced; at least one chunk.

    No resources are held until the iteration begins. An error before the first chunk is an error like any other, and a
    later one aborts the response.
    """

    chunks: AsyncGenerator[bytes, None]
    name: str | None = None


class FileContent(msgspec.Struct, frozen=True):
    """A file of `size` bytes, whose state `etag` identifies. `read` yields the bytes from a start up to an end.

    `name` is what it should be saved as; `StreamedBody` has one too.
    """

    size: int
    etag: str
    read: Callable[[int, int], AsyncGenerator[bytes, None]]
    name: str | None = None


class FileWritten(msgspec.Struct, frozen=True):
    """A file was written; `etag` identifies its new state."""

    etag: str
