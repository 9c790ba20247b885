"""Compaction: adjacent deltas of one message, tool call or thought become one event."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import TypeVar

import msgspec

from app.agui.events import Event
from app.agui.json_strings import join_strings
from app.agui.lenient import members

E = TypeVar("E", bound=Event)

_OF_CALL = "TOOL_CALL_ARGS"
DELTAS = frozenset({"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT", _OF_CALL})


def compact(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events of a log with adjacent deltas of one type, run and id joined, every other one as it is.

    A joined event is the first one with all of the text and the position of the last one. Deltas without an id and
    deltas that are not a string are not joined. Takes time linear in the bytes of the log.
    """
    merger = DeltaMerger()
    for event in events:
        yield from merger.feed((event,))
    yield from merger.finish()


class DeltaMerger:
    """`compact` for events that arrive in batches: deltas are held until the next event shows that no more follow."""

    def __init__(self) -> None:
        self._first: Event | None = None
        self._last: Event | None = None
        self._texts: list[bytes] = []

    def feed(self, events: Sequence[Event]) -> list[Event]:
        """Return the events that are complete with these."""
        complete: list[Event] = []
        for first, last, text in group_deltas(events):
            if text is None:
                complete += [*self.finish(), first]
                continue
            if self._first is None or _delta_key(self._first) != _delta_key(first):
                complete += self.finish()
                self._first = first
            self._last = last
            self._texts.append(text)
        return complete

    def finish(self) -> list[Event]:
        """Return the event that is held, if any: nothing more belongs to it."""
        first, last, texts = self._first, self._last, self._texts
        self._first, self._last, self._texts = None, None, []
        if first is None or last is None:
            return []
        if first is last:
            return [first]
        joined = copy(first)
        joined.delta = msgspec.Raw(b'"%b"' % b"".join(texts))
        joined.position = last.position
        values = members(first.raw) or {}  # never None: the delta has been read from the same object
        joined.source = msgspec.Raw(msgspec.json.encode({**values, "delta": joined.delta}))
        return [joined]


def group_deltas(events: Iterable[E]) -> Iterator[tuple[E, E, bytes | None]]:
    """Yield the first and the last of adjacent deltas that belong together, and their text, escaped.

    Deltas one of which is not a string come one by one, and so does every other event, with None for the text.
    """
    for alike in _group_alike(events):
        if _delta_key(alike[0]) is None:
            yield from ((event, event, None) for event in alike)
        elif (text := join_strings([event.delta for event in alike])) is not None:
            yield alike[0], alike[-1], text
        else:
            yield from ((event, event, join_strings([event.delta])) for event in alike)


def _group_alike(events: Iterable[E]) -> Iterator[list[E]]:
    """Yield adjacent events of one type, run, message and tool call together; most events of a log are deltas."""
    first: E | None = None
    group: list[E] = []
    for event in events:
        if (
            first is not None
            and event.message_id == first.message_id
            and event.tool_call_id == first.tool_call_id
            and event.run_id == first.run_id
            and event.type == first.type
        ):
            group.append(event)
            continue
        if group:
            yield group
        first, group = event, [event]
    if group:
        yield group


def _delta_key(event: Event) -> tuple[str | None, str | None, str] | None:
    """Return the same key for deltas that can be joined, None for any other event."""
    if event.type not in DELTAS:
        return None
    id_ = event.tool_call_id if event.type == _OF_CALL else event.message_id
    return (event.type, event.run_id, id_) if id_ else None
