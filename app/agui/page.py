"""Pages of a log, which are as much as one response or one step of a stream sends, and the cursors between them.

The cursor of a log whose events keep their positions is the position in decimal. Clients treat it as a text without
meaning, so that a backend can replace it by its own.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import Event
from app.errors import CursorExpired
from app.models.output import LogPage
from app.results import StreamEvent

START = 0
"""The position before the first event."""

STREAM_EVENTS = 256
STREAM_PAGE = LogPage(limit=STREAM_EVENTS, max_bytes=1 << 18)
"""The bounds of one page of a stream."""


def to_cursor(position: int) -> str:
    """Return the cursor after the event at a position."""
    return str(position)


def to_position(cursor: str | None) -> int:
    """Return the position of the event that a cursor comes after, START without a cursor.

    The log need not be as long. Raises `CursorExpired` for a text that is the cursor of no log.
    """
    if cursor is None:
        return START
    if cursor.isascii() and cursor.isdecimal():
        position = int(cursor)
        if to_cursor(position) == cursor:
            return position
    raise CursorExpired


def first_page(events: Iterable[Event], page: LogPage) -> Iterator[Event]:
    """Yield events, which begin where the page does, up to the page's limits, and at least one whatever its size.

    Consumes no more of `events` than it takes to see that a limit is reached.
    """
    count = size = 0
    for event in events:
        count, size = count + 1, size + len(bytes(event.raw))
        if count > 1 and size > page.max_bytes:
            return
        yield event
        if count == page.limit:
            return


def stream_events(events: Iterable[Event]) -> list[StreamEvent]:
    """Return events as a stream sends them, each with its cursor."""
    return [StreamEvent(event.raw, to_cursor(event.position)) for event in events]


class PageBuilder:
    """A page that is filled from a log that arrives in batches; once it is `full`, more events change nothing."""

    def __init__(self, page: LogPage, *, compacted: bool) -> None:
        self.full = False
        self._page = page
        self._merger = DeltaMerger() if compacted else None
        self._events: list[Event] = []
        self._last_position = 0

    def feed(self, events: Sequence[Event]) -> bool:
        """Add the next events, the first of which begin the page, and return whether it is full."""
        if events:
            self._last_position = events[-1].position
            self._events += self._merger.feed(events) if self._merger else events
            self.full = len(self._first_page()) < len(self._events)
        return self.full

    def finish(self) -> tuple[list[msgspec.Raw], int | None]:
        """Return the events of the page, and the position of the last one if others follow it."""
        if self._merger:
            self._events += self._merger.finish()
        events = self._first_page()
        more = bool(events) and events[-1].position < self._last_position
        return [event.raw for event in events], events[-1].position if more else None

    def _first_page(self) -> list[Event]:
        return list(first_page(self._events, self._page))
