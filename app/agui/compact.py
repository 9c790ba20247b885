"""Deltas of one message, tool call or thought that follow one another become one event."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import attrgetter

import msgspec

from app.agui.decode import Event
from app.agui.lenient import members

# What is joined, and by which id.
DELTAS = {
    "TEXT_MESSAGE_CONTENT": attrgetter("message_id"),
    "REASONING_MESSAGE_CONTENT": attrgetter("message_id"),
    "TOOL_CALL_ARGS": attrgetter("tool_call_id"),
}
_QUOTE = b'"'


def compact(events: Iterable[Event]) -> Iterator[Event]:
    """Join adjacent deltas of one kind, run and id; every other event passes through as it is.

    A joined event has the bytes of the first one but for its delta, and the position of the last one. Deltas without
    an id, or that are no string, are not joined. Linear in the bytes of the log.
    """
    joiner = Joiner()
    for event in events:
        yield from joiner.take((event,))
    yield from joiner.rest()


class Joiner:
    """What `compact` does, for events that come one by one: deltas are held until it is clear that no more follow."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._id: str | None = None
        self._deltas: list[bytes] = []

    def take(self, events: Iterable[Event]) -> list[Event]:
        """The events that are complete with these."""
        complete: list[Event] = []
        kind = named = None
        for event in events:
            if event.type != kind:
                kind = event.type
                named = DELTAS.get(kind or "")
            id_ = named(event) if named else None
            delta = b"" if id_ is None else bytes(event.delta)
            if delta[:1] != _QUOTE:
                if self._first is not None:
                    complete += self.rest()
                complete.append(event)
                continue
            first = self._first
            if first is None or id_ != self._id or kind != first.type or event.run_id != first.run_id:
                complete += self.rest()
                self._first, self._id = event, id_
            self._last = event
            self._deltas.append(delta)
        return complete

    def rest(self) -> list[Event]:
        """What is held, since nothing follows."""
        if self._first is None or self._last is None:
            return []
        joined = _joined(self._first, self._last, self._deltas)
        self._first = self._last = None
        self._deltas = []
        return [joined]


def _joined(first: Event, last: Event, deltas: list[bytes]) -> Event:
    """JSON strings can be joined without decoding them."""
    if first is last:
        return first
    delta = msgspec.Raw(b'"%b"' % b"".join([delta[1:-1] for delta in deltas]))
    return msgspec.structs.replace(first, stored=_Joint(first, delta), delta=delta, position=last.position)


class _Joint:
    """An event with another delta."""

    def __init__(self, event: Event, delta: msgspec.Raw) -> None:
        self._event = event
        self._delta = delta

    @cached_property
    def _raw(self) -> msgspec.Raw:
        values = members(self._event.raw) or {}  # never None: the delta has been read from the same object
        return msgspec.Raw(msgspec.json.encode({**values, "delta": self._delta}))

    def at(self, _position: int) -> msgspec.Raw:
        return self._raw
