"""Pages of a log: as much as one response or one step of a stream sends."""

from collections.abc import Iterable, Iterator

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import Event
from app.models.output import LogPage
from app.results import StreamEvent

STREAM_EVENTS = 256
STREAM_PAGE = LogPage(limit=STREAM_EVENTS, max_bytes=1 << 18)
"""The bounds of one page of a stream; `after` is left to whoever reads the log."""


def cut(events: Iterable[Event], page: LogPage) -> Iterator[Event]:
    """The first of `events`, which begin behind `page.after`, up to the page's limits; one at least, whatever its size.

    No more of `events` is consumed than it takes to see that a limit is reached.
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
    """Return events as a stream sends them, each with its position."""
    return [StreamEvent(event.raw, event.position) for event in events]


class PageBuilder:
    """A page that is filled from a log's events as they come; `full` says that more of them change nothing."""

    def __init__(self, page: LogPage, *, compacted: bool) -> None:
        self.full = False
        self._page = page
        self._joiner = DeltaMerger() if compacted else None
        self._found: list[Event] = []
        self._end = 0

    def feed(self, events: Iterable[Event]) -> bool:
        """Go on with these events; True once the page is full."""
        behind = [event for event in events if event.position > self._page.after]
        if behind:
            self._end = behind[-1].position
            self._found += self._joiner.feed(behind) if self._joiner else behind
            self.full = len(self._page_of_found()) < len(self._found)
        return self.full

    def finish(self) -> tuple[list[msgspec.Raw], int | None]:
        """The events of the page, and the position behind which the log goes on if it does."""
        if self._joiner:
            self._found += self._joiner.finish()
        found = self._page_of_found()
        more = bool(found) and found[-1].position < self._end
        return [event.raw for event in found], found[-1].position if more else None

    def _page_of_found(self) -> list[Event]:
        return list(cut(self._found, self._page))
