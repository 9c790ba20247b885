"""What a handler answers with where a plain value does not say it all."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from app.models.wire import WireModel

T = TypeVar("T")


class TextResponse(msgspec.Struct, frozen=True):
    """A handler's answer that is text as it stands."""

    text: str


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream and its position in the session's log; None for an event that is not in the log."""

    event: bytes | msgspec.Raw
    position: int | None = None


class EventStream(msgspec.Struct, frozen=True):
    """An answer that goes on: pages of frames as they come to be; nothing is held until the iteration has begun.

    `parting` makes what a reader gets who has to go before the end, because the server stops.
    """

    pages: AsyncGenerator[list[StreamEvent], None]
    on_shutdown: Callable[[], list[StreamEvent]] = list


class StreamedJson(msgspec.Struct, frozen=True):
    """An answer in JSON that is sent as it comes to be.

    Nothing is held until the iteration has begun. An error before the first piece is answered as any other; one that
    comes later can only cut the connection.
    """

    pieces: AsyncGenerator[bytes, None]


class LongPoll(msgspec.Struct, frozen=True):
    """An answer that takes up to `seconds`, and what is answered `at_once` where server or client go meanwhile."""

    seconds: int
    result: Awaitable[WireModel]
    current: Callable[[], Awaitable[WireModel]]


class Idempotent(msgspec.Struct, Generic[T], frozen=True):
    """The result of an operation that takes an Idempotency-Key; `replayed` if it is that of an earlier request."""

    value: T
    replayed: bool = False


class Created(msgspec.Struct, frozen=True):
    """A resource that was created, the path for its `Location`, and whether this repeats an earlier response."""

    body: WireModel
    location: str
    replayed: bool = False
