"""Deltas of one message, tool call or thought that follow one another become one event."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy

import msgspec

from app.agui.events import Event
from app.agui.lenient import members

# What is joined: deltas of a message, and of a call.
_OF_MESSAGE = frozenset({"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"})
_OF_CALL = "TOOL_CALL_ARGS"
DELTAS = _OF_MESSAGE | {_OF_CALL}
# No JSON has it: it marks where strings were put together, and several of it are found quicker than one.
_NUL = b"\0"
_SEAM = _NUL * 8
_SEAMED = b'"%b"' % _SEAM


def compact(events: Iterable[Event]) -> Iterator[Event]:
    """Join adjacent deltas of one kind, run and id; every other event passes through as it is.

    A joined event has the bytes of the first one but for its delta, and the position of the last one. Deltas without
    an id, or that are no string, are not joined. Linear in the bytes of the log.
    """
    joiner = DeltaMerger()
    for event in events:
        yield from joiner.feed((event,))
    yield from joiner.finish()


def _delta_of(event: Event) -> str | None:
    """The id of what the event is a delta of, if it is one that can be joined."""
    if event.type in _OF_MESSAGE:
        return event.message_id
    return event.tool_call_id if event.type == _OF_CALL else None


def group_deltas(events: Sequence[Event]) -> Iterator[tuple[int, int, bytes | None]]:
    """Begin and end of what belongs together, and its text: deltas of one kind, run and id; any other event alone.

    The text is what stands between the quotes of a JSON string, as it is written. Deltas one of which is no string are
    alone, too.
    """
    for start, end in _alike(events):
        text = _joined([event.delta for event in events[start:end]]) if _delta_of(events[start]) else None
        if text is not None or end - start == 1:
            yield start, end, text
            continue
        for index in range(start, end):
            yield index, index + 1, _joined([events[index].delta])


def _alike(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    start, kind, id_, run_id = 0, None, None, None
    for index, event in enumerate(events):
        # Nearly every event goes on with its stretch; to see that is all it costs.
        if (
            id_ is not None
            and event.type == kind
            and (event.tool_call_id if kind == _OF_CALL else event.message_id) == id_
            and event.run_id == run_id
        ):
            continue
        if index:
            yield start, index
        start, kind, id_, run_id = index, event.type, _delta_of(event), event.run_id
    if events:
        yield start, len(events)


def _joined(strings: Sequence[msgspec.Raw]) -> bytes | None:
    """Strings as one, without its quotes; None if one of them is no string."""
    text = _SEAM.join(strings).replace(_SEAMED, b"")
    return None if text[:1] != b'"' or _NUL in text else text[1:-1]


class DeltaMerger:
    """What `compact` does, for events that come one by one: deltas are held until it is clear that no more follow."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._texts: list[bytes] = []

    def feed(self, events: Sequence[Event], at: Callable[[int], Event] | None = None) -> list[Event]:
        """The events that are complete with these, each as `at` gives it."""
        at = at or events.__getitem__
        complete: list[Event] = []
        for start, end, text in group_deltas(events):
            if text is None:
                complete += [*self.finish(), at(start)]
                continue
            if self._first is None or not _merge(self._first, events[start]):
                complete += self.finish()
                self._first = at(start)
            self._last = at(end - 1)
            self._texts.append(text)
        return complete

    def finish(self) -> list[Event]:
        """What is held, since nothing follows."""
        first, last, texts = self._first, self._last, self._texts
        if first is None or last is None:
            return []
        self._first, self._last, self._texts = None, None, []
        if first is last:
            return [first]
        delta = b'"%b"' % b"".join(texts)
        joint, raw = copy(first), _with_delta(first, delta)
        joint.stored, joint.delta, joint.position = raw, msgspec.Raw(delta), last.position
        return [joint]


def _merge(one: Event, other: Event) -> bool:
    return (one.type, one.run_id, _delta_of(one)) == (other.type, other.run_id, _delta_of(other))


def _with_delta(event: Event, delta: bytes) -> msgspec.Raw:
    """The event with another delta, and its other bytes as they are if that is where the delta can be told to stand."""
    raw, member = bytes(event.raw), b'"delta":%b' % event.delta
    if raw.count(member) == 1:
        return msgspec.Raw(raw.replace(member, b'"delta":%b' % delta))
    values = members(raw) or {}  # never None: the delta has been read from the same object
    return msgspec.Raw(msgspec.json.encode({**values, "delta": msgspec.Raw(delta)}))
