"""AG-UI events as a log stores them, decoded only as far as a reader needs.

Every entry of a log is one JSON object. Four structs read more and more of it: `OpaqueEvent` nothing, `EventHeader` the
run and the time, `Event` the message or tool call that it is part of, and its delta, `FullEvent` all of its content.

An `EventBatch` decodes a JSON array of many entries in one call. If one of them has a member of an unexpected type, the
batch is decoded again entry by entry, leniently: odd input costs time and is never an error. An event finds its bytes
through its batch, which splits the array when the first of them is needed, and most readers need few of them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any, Generic, Self, TypeVar, overload

import msgspec

from app.agui.lenient import UNREADABLE, Json, Lenient, plain, require_utf8
from app.agui.messages import StoredMessage, snapshot_messages
from app.clock import LATEST, millis

# The decoder of a whole batch rejects an empty id, so that the lenient one reads it as absent.
_Id = Annotated[str, msgspec.Meta(min_length=1)] | None
_ABSENT = msgspec.Raw()

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _BatchBytes:
    """The bytes of the events of a batch, found by position."""

    def __init__(self, array: bytes, first: int) -> None:
        self._array = array
        self._first = first
        self._raws: list[msgspec.Raw] | None = None

    def at(self, position: int) -> msgspec.Raw:
        """Return the event at a position of the log."""
        if self._raws is None:
            self._raws = _split(self._array)
        return self._raws[position - self._first]


class OpaqueEvent(msgspec.Struct, gc=False):
    """An AG-UI event of which only the bytes matter."""

    @classmethod
    def normalize_ids(cls, events: Sequence[Self]) -> None:
        """Merge the spellings of ids."""


class EventHeader(OpaqueEvent):
    """The run and the time of an AG-UI event.

    Ids are None if they are absent, empty or not a string; camelCase wins over snake_case. `timestamp` is in ms.
    `position` counts the events of the log from 1. Fields are in the order of the platform's keys, which is
    alphabetical: msgspec looks for the next field first.
    """

    run_id: _Id = msgspec.field(name="runId", default=None)
    snake_run_id: _Id = msgspec.field(name="run_id", default=None)
    thread_id: _Id = msgspec.field(name="threadId", default=None)
    snake_thread_id: _Id = msgspec.field(name="thread_id", default=None)
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=LATEST)] | None = None
    type: str | None = None
    # Set after decoding. They need names that no event has, lest its members slow the decoder down.
    source: Any = msgspec.field(name="_source", default=None)
    position: int = msgspec.field(name="_position", default=0)

    @property
    def raw(self) -> msgspec.Raw:
        """The event byte for byte."""
        source: msgspec.Raw | _BatchBytes = self.source
        return source if isinstance(source, msgspec.Raw) else source.at(self.position)

    @classmethod
    def normalize_ids(cls, events: Sequence[Self]) -> None:
        """Fill in missing ids from their snake_case spelling."""
        for event in [event for event in events if event.snake_run_id or event.snake_thread_id]:
            event.run_id = event.run_id or event.snake_run_id
            event.thread_id = event.thread_id or event.snake_thread_id


class Event(EventHeader):
    """An AG-UI event with the message or tool call that it belongs to, and its delta in JSON."""

    delta: msgspec.Raw = _ABSENT
    message_id: _Id = msgspec.field(name="messageId", default=None)
    snake_message_id: _Id = msgspec.field(name="message_id", default=None)
    role: str | None = None
    tool_call_id: _Id = msgspec.field(name="toolCallId", default=None)
    snake_tool_call_id: _Id = msgspec.field(name="tool_call_id", default=None)

    @classmethod
    def normalize_ids(cls, events: Sequence[Self]) -> None:
        """Fill in missing ids from their snake_case spelling."""
        super().normalize_ids(events)
        for event in [event for event in events if event.snake_message_id or event.snake_tool_call_id]:
            event.message_id = event.message_id or event.snake_message_id
            event.tool_call_id = event.tool_call_id or event.snake_tool_call_id


class FullEvent(Event):
    """An AG-UI event with all that a transcript shows of it; members of several types stay JSON."""

    content: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    camel_is_error: bool | None = msgspec.field(name="isError", default=None)
    is_error: bool | None = None
    messages: list[StoredMessage] | None = None
    name: str | None = None
    parent_message_id: str | None = msgspec.field(name="parentMessageId", default=None)
    snake_parent_message_id: str | None = msgspec.field(name="parent_message_id", default=None)
    result: msgspec.Raw = _ABSENT
    tool_call_name: str | None = msgspec.field(name="toolCallName", default=None)
    snake_tool_call_name: str | None = msgspec.field(name="tool_call_name", default=None)


E = TypeVar("E", bound=OpaqueEvent)
H = TypeVar("H", bound=EventHeader)


class EventDecoder(Generic[E]):
    """Decoder of log entries as events of type `kind`: the fewer fields, the faster. `readers` are for `Lenient`."""

    def __init__(self, kind: type[E], **readers: Callable[[Json], Any]) -> None:
        self._kind = kind
        self._decode_array = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]  # known at run time
        self._decode_one = Lenient(kind, timestamp=plain(millis), **readers)

    def decode_array(self, array: bytes) -> Sequence[E]:
        """Return the entries of a JSON array; raises one of UNREADABLE if any has a member of an unexpected type."""
        events: Sequence[E] = self._decode_array(array)
        self._kind.normalize_ids(events)
        return events

    def decode_one(self, raw: Json) -> E | None:
        """Return one entry, without members of unexpected types; None if it is not a JSON object."""
        event = self._decode_one(raw)
        if event is not None:
            self._kind.normalize_ids([event])
        return event


def _read_messages(raw: Json) -> list[StoredMessage]:
    return snapshot_messages(b'{"messages":%b}' % raw)


OPAQUE = EventDecoder(OpaqueEvent)
HEADERS = EventDecoder(EventHeader)
EVENTS = EventDecoder(Event)
FULL_EVENTS = EventDecoder(FullEvent, messages=_read_messages)


class EventBatch(Generic[E]):
    """Consecutive entries of a log: `array` is the JSON array of them, `events` are those that are JSON objects.

    Raises one of UNREADABLE if `array` is not a JSON array, UnicodeDecodeError if what is decoded of it is not UTF-8.
    """

    def __init__(self, array: bytes, decoder: EventDecoder[E]) -> None:
        self.array = array
        self._event_array = array
        try:
            self.events = decoder.decode_array(array)
        except UNREADABLE:
            require_utf8(array)
            decoded = [(raw, event) for raw in self.raws() if (event := decoder.decode_one(raw))]
            self.events = [event for _, event in decoded]
            self._event_array = b"[%b]" % b",".join([raw for raw, _ in decoded])

    def raws(self) -> list[msgspec.Raw]:
        """Return all entries byte for byte, whatever they are."""
        return _split(self.array)

    def event_bytes(self) -> list[memoryview]:
        """Return the events as JSON with commas between them, in one part, or none if there are none."""
        return [memoryview(self._event_array)[1:-1]] if self.events else []

    def number(self: "EventBatch[H]", first: int) -> Sequence[H]:
        """Return the events with their positions in the log, the first of them at `first`."""
        source = _BatchBytes(self._event_array, first)
        for position, event in enumerate(self.events, first):
            event.source, event.position = source, position
        return self.events


BATCH = 1000  # entries that are decoded in one call


@overload
def decode(raws: Iterable[Json], *, first: int = 1) -> Iterator[Event]: ...


@overload
def decode(raws: Iterable[Json], decoder: EventDecoder[H], *, first: int = 1) -> Iterator[H]: ...


def decode(raws: Iterable[Json], decoder: EventDecoder[Any] = EVENTS, *, first: int = 1) -> Iterator[Any]:
    """Yield the events of a log in order, the first one at position `first`; what is not a JSON object is dropped."""
    entries = iter(raws)
    while batch := list(islice(entries, BATCH)):
        events = _decode_batch(batch, first, decoder)
        first += len(events)
        yield from events


def decode_one(raw: Json, position: int) -> Event | None:
    """Return the event at one position of a log; None if the entry is not a JSON object."""
    return _decode_one(raw, position, EVENTS)


def _decode_batch(raws: Sequence[Json], first: int, decoder: EventDecoder[H]) -> Sequence[H]:
    with suppress(*UNREADABLE):
        batch = EventBatch(b"[%b]" % b",".join(raws), decoder)
        # An entry that is not JSON by itself, such as `{},{}`, may pass for several.
        if len(batch.events) == len(raws):
            return batch.number(first)
    events: list[H] = []
    for raw in raws:
        if event := _decode_one(raw, first + len(events), decoder):
            events.append(event)
    return events


def _decode_one(raw: Json, position: int, decoder: EventDecoder[H]) -> H | None:
    event = decoder.decode_one(raw)
    if event is not None:
        event.source = raw if isinstance(raw, msgspec.Raw) else msgspec.Raw(raw)
        event.position = position
    return event


_encode = msgspec.json.Encoder().encode


def encode_event(type_: str, **fields: Any) -> bytes:
    """Return an event as JSON without the fields that are None: the official client rejects null.

    Half a character (see `whole_text`) stays as an escape, for `HalfJoiner`.
    """
    event = {"type": type_, **{name: value for name, value in fields.items() if value is not None}}
    try:
        return _encode(event)
    except UnicodeEncodeError:
        return json.dumps(event).encode()
