"""A log entry by entry: the few keys that readers ask for, beside the bytes as they were stored."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import msgspec

from app.agui.entries import Entries, entries_of
from app.agui.lenient import UNREADABLE, Json, Lenient
from app.agui.times import LATEST, millis


class Event(msgspec.Struct, gc=False):
    """One AG-UI event.

    `raw` is the event byte for byte, `position` its place in the log, the first event's being 1. Ids are None where
    absent, empty or no string, and read in camelCase before snake_case; `timestamp` is in ms, `delta` as it is written.
    Everything else (content, messages, result) stays in `raw` for whoever needs it.
    """

    type: str | None = None
    run_id: str | None = msgspec.field(name="runId", default=None)
    thread_id: str | None = msgspec.field(name="threadId", default=None)
    message_id: str | None = msgspec.field(name="messageId", default=None)
    tool_call_id: str | None = msgspec.field(name="toolCallId", default=None)
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=LATEST)] | None = None
    delta: msgspec.Raw = msgspec.Raw()
    snake_run_id: str | None = msgspec.field(name="run_id", default=None)
    snake_thread_id: str | None = msgspec.field(name="thread_id", default=None)
    snake_message_id: str | None = msgspec.field(name="message_id", default=None)
    snake_tool_call_id: str | None = msgspec.field(name="tool_call_id", default=None)
    # Set after decoding, so that members of these names do no harm.
    raw: msgspec.Raw = msgspec.Raw()
    position: int = 0


BATCH = 1000  # entries that are decoded at once
_SNAKE, _EMPTY = b'_id"', b'""'  # without one of these in the text, ids need no second look

_event = Lenient(Event, timestamp=millis)
_events = msgspec.json.Decoder(list[Event]).decode


def decode(raws: Iterable[Json], *, first: int = 1) -> Iterator[Event]:
    """The events of a log in order, counted from `first`; entries that are no JSON object are dropped."""
    rest = iter(raws)
    while batch := list(islice(rest, BATCH)):
        try:
            events = decode_entries(entries_of(batch), first)
        except UNREADABLE:
            events = _one_by_one(batch, first)
        first += len(events)
        yield from events


def decode_entries(entries: Entries, first: int) -> list[Event]:
    """What `decode` does, in one go where every entry is as it should be."""
    array, raws = entries
    try:
        events = _events(array)
    except UNREADABLE:
        return _one_by_one(raws, first)
    for position, (event, raw) in enumerate(zip(events, raws, strict=True), first):
        event.raw = raw
        event.position = position
    if _SNAKE in array or _EMPTY in array:
        for event in events:
            _settle_ids(event)
    return events


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
    event.raw = raw if isinstance(raw, msgspec.Raw) else msgspec.Raw(raw)
    event.position = position
    return event


def _settle_ids(event: Event) -> None:
    if not event.run_id:
        event.run_id = event.snake_run_id or None
    if not event.thread_id:
        event.thread_id = event.snake_thread_id or None
    if not event.message_id:
        event.message_id = event.snake_message_id or None
    if not event.tool_call_id:
        event.tool_call_id = event.snake_tool_call_id or None
