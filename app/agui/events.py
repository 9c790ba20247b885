"""A log entry by entry: the few keys that readers ask for, beside the bytes as they were stored."""

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any, Generic, Protocol, Self, TypeVar, overload

import msgspec

from app.agui.lenient import UNREADABLE, Json, Lenient, plain
from app.agui.messages import StoredMessage, snapshot_messages
from app.agui.times import LATEST, millis

# An empty one makes a decoder of many events refuse them all, and each is then read by itself.
_Id = Annotated[str, msgspec.Meta(min_length=1)] | None

_tell_apart = msgspec.json.Decoder(list[msgspec.Raw]).decode


class RawEvents(Protocol):
    """Where an event finds its bytes once somebody asks for them."""

    def at(self, position: int) -> msgspec.Raw:
        """The event at a position."""


class NeighbourEvents:
    """Entries as they were stored, told apart once somebody asks for one; `first` is the position of the first."""

    def __init__(self, array: bytes) -> None:
        self.array = array
        self.first = 1
        self._raws: list[msgspec.Raw] | None = None

    def at(self, position: int) -> msgspec.Raw:
        """The entry at a position."""
        raws = self._raws
        if raws is None:
            raws = self._raws = _tell_apart(self.array)
        return raws[position - self.first]


class OpaqueEvent(msgspec.Struct, gc=False):
    """An AG-UI event of which nothing is asked but its bytes."""

    @classmethod
    def normalize_ids(cls, events: Sequence[Self]) -> None:
        """Read in the events what can be written in more than one way."""


class EventHeader(OpaqueEvent):
    """What an AG-UI event says of its run.

    `position` is its place in the log, the first event's being 1. Ids are None where absent, empty or no string, and
    read in camelCase before snake_case; `timestamp` is in ms. Everything else (content, messages, result) stays in
    `raw` for whoever needs it. The fields stand in the order of the platform's keys, that of the alphabet: a decoder
    looks for the next one first.
    """

    run_id: _Id = msgspec.field(name="runId", default=None)
    snake_run_id: _Id = msgspec.field(name="run_id", default=None)
    thread_id: _Id = msgspec.field(name="threadId", default=None)
    snake_thread_id: _Id = msgspec.field(name="thread_id", default=None)
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=LATEST)] | None = None
    type: str | None = None
    # Set after decoding, so that members of these names do no harm.
    stored: Any = None
    position: int = 0

    @property
    def raw(self) -> msgspec.Raw:
        """The event byte for byte."""
        stored: msgspec.Raw | RawEvents = self.stored
        return stored if isinstance(stored, msgspec.Raw) else stored.at(self.position)

    @classmethod
    def normalize_ids(cls, marks: Sequence[Self]) -> None:
        """Fill up missing ids with those in snake_case."""
        for mark in [mark for mark in marks if mark.snake_run_id or mark.snake_thread_id]:
            mark.run_id = mark.run_id or mark.snake_run_id
            mark.thread_id = mark.thread_id or mark.snake_thread_id


class Event(EventHeader):
    """One AG-UI event: also what it is a part of, and its `delta` as it is written."""

    delta: msgspec.Raw = msgspec.Raw()
    message_id: _Id = msgspec.field(name="messageId", default=None)
    snake_message_id: _Id = msgspec.field(name="message_id", default=None)
    tool_call_id: _Id = msgspec.field(name="toolCallId", default=None)
    snake_tool_call_id: _Id = msgspec.field(name="tool_call_id", default=None)

    @classmethod
    def normalize_ids(cls, events: Sequence[Self]) -> None:
        """Fill up missing ids with those in snake_case."""
        super().normalize_ids(events)
        for event in [event for event in events if event.snake_message_id or event.snake_tool_call_id]:
            event.message_id = event.message_id or event.snake_message_id
            event.tool_call_id = event.tool_call_id or event.snake_tool_call_id


E = TypeVar("E", bound=OpaqueEvent)
M = TypeVar("M", bound=EventHeader)
BATCH = 1000  # entries that are decoded at once


class EventDecoder(Generic[E]):
    """Entries of a log read as `struct`: the less it holds the quicker. `readers` are those of `Lenient`."""

    def __init__(self, struct: type[E], **readers: Callable[[Json], Any]) -> None:
        self.struct = struct
        self.together = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]  # known as it runs
        self.alone = Lenient(struct, timestamp=plain(millis), **readers)


BYTES, MARKS, EVENTS = EventDecoder(OpaqueEvent), EventDecoder(EventHeader), EventDecoder(Event)


class EventBatch(Generic[E]):
    """Some entries of a log: `array` is the JSON array that holds just them; raises ValueError if it is none.

    What is skipped need not be UTF-8; a UnicodeDecodeError says that something else is not. `events` are those that are
    events; only `at` and `all` give them their position and their bytes.
    """

    def __init__(self, array: bytes, reading: EventDecoder[E]) -> None:
        self.array = array
        stored = array
        try:
            self.events: Sequence[E] = reading.together(array)
        except UNREADABLE:
            require_utf8(array)
            alone = [(raw, event) for raw in self.raws() if (event := reading.alone(raw))]
            self.events = [event for _, event in alone]
            stored = b"[%b]" % b",".join([raw for raw, _ in alone])
        reading.struct.normalize_ids(self.events)
        self._neighbours = NeighbourEvents(stored)
        self._positions: Sequence[int] = ()

    def raws(self) -> list[msgspec.Raw]:
        """The entries one by one, whatever they are."""
        return _tell_apart(self.array)

    def stored(self) -> list[memoryview]:
        """Those that are events as they stand, with commas between them, in one part or none."""
        return [memoryview(self._neighbours.array)[1:-1]] if self.events else []

    def count(self, first: int) -> None:
        """Say that the first event has this position."""
        self._neighbours.first = first
        self._positions = range(first, first + len(self.events))

    def keep(self, indexes: Sequence[int]) -> None:
        """Go on with these events alone."""
        self.events = [self.events[index] for index in indexes]
        self._positions = [self._positions[index] for index in indexes]

    def at(self: "EventBatch[M]", index: int) -> M:
        """One of `events`, to be held without the others."""
        event = self.events[index]
        event.stored, event.position = self._neighbours, self._positions[index]
        return event

    def all(self: "EventBatch[M]") -> Sequence[M]:
        """All of `events`."""
        for position, event in zip(self._positions, self.events, strict=True):
            event.stored, event.position = self._neighbours, position
        return self.events


@overload
def decode(raws: Iterable[Json], *, first: int = 1) -> Iterator[Event]: ...


@overload
def decode(raws: Iterable[Json], reading: EventDecoder[M], *, first: int = 1) -> Iterator[M]: ...


def decode(raws: Iterable[Json], reading: EventDecoder[Any] = EVENTS, *, first: int = 1) -> Iterator[Any]:
    """The events of a log in order, counted from `first`; entries that are no JSON object are dropped."""
    rest = iter(raws)
    while batch := list(islice(rest, BATCH)):
        events = _decoded(batch, first, reading)
        first += len(events)
        yield from events


def _decoded(raws: Sequence[Json], first: int, reading: EventDecoder[M]) -> Sequence[M]:
    with suppress(*UNREADABLE):
        entries = EventBatch(b"[%b]" % b",".join(raws), reading)
        # One that is no JSON value may look like several.
        if len(entries.events) == len(raws):
            entries.count(first)
            return entries.all()
    events: list[M] = []
    for raw in raws:
        if event := _alone(raw, first + len(events), reading):
            events.append(event)
    return events


def decode_one(raw: Json, position: int) -> Event | None:
    """The event at that position of a log; None for an entry that is no JSON object."""
    return _alone(raw, position, EVENTS)


def _alone(raw: Json, position: int, reading: EventDecoder[M]) -> M | None:
    event = reading.alone(raw)
    if event is None:
        return None
    event.normalize_ids([event])
    event.stored = raw if isinstance(raw, msgspec.Raw) else msgspec.Raw(raw)
    event.position = position
    return event


_ABSENT = msgspec.Raw()


class FullEvent(Event):
    """One AG-UI event, and what it says: heavy members as they are written."""

    content: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    camel_is_error: bool | None = msgspec.field(name="isError", default=None)
    is_error: bool | None = None
    messages: list[StoredMessage] | None = None
    name: str | None = None
    parent_message_id: str | None = msgspec.field(name="parentMessageId", default=None)
    snake_parent_message_id: str | None = msgspec.field(name="parent_message_id", default=None)
    result: msgspec.Raw = _ABSENT
    role: str | None = None
    tool_call_name: str | None = msgspec.field(name="toolCallName", default=None)
    snake_tool_call_name: str | None = msgspec.field(name="tool_call_name", default=None)


def _messages(raw: Json) -> list[StoredMessage]:
    return snapshot_messages(b'{"messages":%b}' % raw)


FULL_EVENTS = EventDecoder(FullEvent, messages=_messages)


_PART = 1 << 14  # bytes that are decoded at once: as text, four times as many, they still fit the heap as it is

_decoder = codecs.getincrementaldecoder("utf-8")


def require_utf8(text: bytes | msgspec.Raw) -> None:
    """Raise UnicodeDecodeError if it is not UTF-8."""
    decoder, view = _decoder(), memoryview(text)
    for start in range(0, len(view), _PART):
        decoder.decode(view[start : start + _PART])
    decoder.decode(b"", final=True)


_encode = msgspec.json.Encoder().encode


def encode_event(type_: str, **fields: Any) -> bytes:
    """Return an event as JSON without the fields that are None: the official client rejects null."""
    return _encode({"type": type_, **{name: value for name, value in fields.items() if value is not None}})
