"""A log entry by entry: the few keys that readers ask for, beside the bytes as they were stored."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, Protocol

import msgspec

from app.agui.lenient import UNREADABLE, Json, Lenient
from app.agui.times import LATEST, millis

# An empty one makes a decoder of many events refuse them all, and each is then read by itself.
_Id = Annotated[str, msgspec.Meta(min_length=1)] | None

_tell_apart = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Stored(Protocol):
    """Where an event finds its bytes once somebody asks for them."""

    def at(self, position: int) -> msgspec.Raw:
        """The event at a position."""


class Neighbours:
    """Entries as they were stored, the first at the position `first`, told apart once somebody asks for one."""

    def __init__(self, array: bytes, first: int) -> None:
        self._array = array
        self._first = first

    @cached_property
    def _raws(self) -> list[msgspec.Raw]:
        return _tell_apart(self._array)

    def at(self, position: int) -> msgspec.Raw:
        """The entry at a position."""
        return self._raws[position - self._first]


class Event(msgspec.Struct, gc=False):
    """One AG-UI event.

    `position` is its place in the log, the first event's being 1. Ids are None where absent, empty or no string, and
    read in camelCase before snake_case; `timestamp` is in ms, `delta` as it is written. Everything else (content,
    messages, result) stays in `raw` for whoever needs it.
    """

    type: str | None = None
    run_id: _Id = msgspec.field(name="runId", default=None)
    thread_id: _Id = msgspec.field(name="threadId", default=None)
    message_id: _Id = msgspec.field(name="messageId", default=None)
    tool_call_id: _Id = msgspec.field(name="toolCallId", default=None)
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=LATEST)] | None = None
    delta: msgspec.Raw = msgspec.Raw()
    snake_run_id: _Id = msgspec.field(name="run_id", default=None)
    snake_thread_id: _Id = msgspec.field(name="thread_id", default=None)
    snake_message_id: _Id = msgspec.field(name="message_id", default=None)
    snake_tool_call_id: _Id = msgspec.field(name="tool_call_id", default=None)
    # Set after decoding, so that members of these names do no harm.
    stored: Any = None
    position: int = 0

    @property
    def raw(self) -> msgspec.Raw:
        """The event byte for byte."""
        stored: msgspec.Raw | Stored = self.stored
        return stored if isinstance(stored, msgspec.Raw) else stored.at(self.position)


BATCH = 1000  # entries that are decoded at once

_event = Lenient(Event, timestamp=millis)
_events = msgspec.json.Decoder(list[Event]).decode


class Entries:
    """Some entries of a log: `array` is the JSON array that holds just them; raises ValueError if it is none."""

    def __init__(self, array: bytes) -> None:
        self.array = array
        try:
            self._events: list[Event] | None = _events(array)
        except UNREADABLE:
            self._events = None
            self.raws()

    @property
    def all_events(self) -> bool:
        """Whether none of them has to be left out."""
        return self._events is not None

    def raws(self) -> list[msgspec.Raw]:
        """The entries one by one, whatever they are."""
        return _tell_apart(self.array)

    def events(self, first: int) -> list[Event]:
        """Those that are events, counted from `first`; to be asked for once."""
        events = self._events
        if events is None:
            return _one_by_one(self.raws(), first)
        neighbours = Neighbours(self.array, first)
        for position, event in enumerate(events, first):
            event.stored = neighbours
            event.position = position
            if event.snake_run_id or event.snake_message_id or event.snake_thread_id or event.snake_tool_call_id:
                _settle_ids(event)
        return events


def decode(raws: Iterable[Json], *, first: int = 1) -> Iterator[Event]:
    """The events of a log in order, counted from `first`; entries that are no JSON object are dropped."""
    rest = iter(raws)
    while batch := list(islice(rest, BATCH)):
        events = _decoded(batch, first)
        first += len(events)
        yield from events


def _decoded(raws: Sequence[Json], first: int) -> list[Event]:
    try:
        events = Entries(b"[%b]" % b",".join(raws)).events(first)
    except UNREADABLE:
        events = []
    # One that is no JSON value may look like several.
    return events if len(events) == len(raws) else _one_by_one(raws, first)


def _one_by_one(raws: Iterable[Json], first: int) -> list[Event]:
    events: list[Event] = []
    for raw in raws:
        if event := decode_one(raw, first + len(events)):
            events.append(event)
    return events


def decode_one(raw: Json, position: int) -> Event | None:
    """The event at that position of a log; None for an entry that is no JSON object."""
    event = _event(raw)
    if event is None:
        return None
    _settle_ids(event)
    event.stored = raw if isinstance(raw, msgspec.Raw) else msgspec.Raw(raw)
    event.position = position
    return event


def _settle_ids(event: Event) -> None:
    event.run_id = event.run_id or event.snake_run_id
    event.thread_id = event.thread_id or event.snake_thread_id
    event.message_id = event.message_id or event.snake_message_id
    event.tool_call_id = event.tool_call_id or event.snake_tool_call_id
