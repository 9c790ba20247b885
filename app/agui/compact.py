"""Deltas of one message, tool call or thought that follow one another become one event."""

from collections.abc import Iterable, Iterator

import msgspec

from app.agui.decode import Event
from app.agui.lenient import Lenient, members

_TEXTS = frozenset({"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"})
_ARGS = "TOOL_CALL_ARGS"


class _Delta(msgspec.Struct, gc=False):
    delta: msgspec.Raw = msgspec.Raw()


_delta = Lenient(_Delta)


def compact(events: Iterable[Event]) -> Iterator[Event]:
    """Join adjacent deltas of one kind, run and id; every other event passes through as it is.

    A joined event has the bytes of the first one but for its delta, and the position of the last one. Deltas without
    an id, or that are no string, are not joined. Linear in the bytes of the log.
    """
    joiner = Joiner()
    for event in events:
        yield from joiner.take(event)
    yield from joiner.rest()


class Joiner:
    """What `compact` does, for events that come one by one: deltas are held until it is clear that no more follow."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._deltas: list[bytes] = []

    def take(self, event: Event) -> list[Event]:
        """The events that are complete with this one."""
        delta = _joinable(event)
        if delta is not None and self._first is not None and _same(self._first, event):
            self._deltas.append(delta)
            self._last = event
            return []
        complete = self.rest()
        if delta is None:
            return [*complete, event]
        self._first = self._last = event
        self._deltas = [delta]
        return complete

    def rest(self) -> list[Event]:
        """What is held, since nothing follows."""
        if self._first is None or self._last is None:
            return []
        joined = _joined(self._first, self._last, self._deltas)
        self._first = self._last = None
        return [joined]


def _same(one: Event, other: Event) -> bool:
    return (
        one.type == other.type
        and one.run_id == other.run_id
        and (one.tool_call_id == other.tool_call_id if one.type == _ARGS else one.message_id == other.message_id)
    )


def _joinable(event: Event) -> bytes | None:
    """What stands between the quotes of the delta: JSON strings can be joined without decoding them."""
    if event.type in _TEXTS:
        named = event.message_id
    elif event.type == _ARGS:
        named = event.tool_call_id
    else:
        return None
    if named is None or (body := _delta(event.raw)) is None:
        return None
    text = bytes(body.delta)
    return text[1:-1] if text.startswith(b'"') else None


def _joined(first: Event, last: Event, deltas: list[bytes]) -> Event:
    if first is last:
        return first
    values = members(first.raw) or {}  # never None: the delta has been read from the same object
    values["delta"] = msgspec.Raw(b'"%b"' % b"".join(deltas))
    raw = msgspec.Raw(msgspec.json.encode(values))
    return msgspec.structs.replace(first, raw=raw, position=last.position)
