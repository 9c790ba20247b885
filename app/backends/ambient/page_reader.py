"""A page of a log that the platform exports, found by a cursor while the export arrives."""

from collections.abc import Sequence

import msgspec

from app.agui.events import Event, EventBatch
from app.agui.page import PageBuilder
from app.agui.prefix import PrefixHasher
from app.agui.run_filter import RunFilter
from app.backends.ambient.cursors import START, Cursor, Finder, Tracker
from app.backends.ambient.log_cache import Checkpoint, Checkpoints
from app.models.output import EventFormat, LogPage, OutputFormat


class PageReader:
    """Reader of a page, from the last checkpoint before its cursor on; adds the checkpoints that follow.

    `CursorExpired`. `hasher` is that of the export, which is read until `feed` returns True, then `finish` is called.
    """

    def __init__(
        self,
        page: LogPage,
        cursor: Cursor,
        run_id: str | None,
        checkpoints: Checkpoints,
        *,
        accepted: bool,
        format: EventFormat,
    ) -> None:
        start = checkpoints.before(cursor)
        self.hasher = PrefixHasher(start and start.prefix)
        self._checkpoints = checkpoints
        self._filter = RunFilter(run_id, accepted=accepted)
        if start:
            self._filter.end, self._filter.missing = start.position, start.missing
        self._place = Tracker(start.cursor if start else START)
        self._finder = Finder(cursor, start.cursor if start else START)
        self._builder = PageBuilder(page, compacted=format is OutputFormat.COMPACT)
        self._events: list[Event] = []  # everything after the cursor, of whatever run

    def feed(self, batch: EventBatch[Event]) -> bool:
        """Add the next entries of the log; return True once more of them cannot change the page."""
        self._filter.feed(batch)
        self._place.add(batch.events)
        if prefix := self.hasher.prefix:
            self._checkpoints.add(Checkpoint(self._place.cursor, self._filter.end, self._filter.missing, prefix))
        return self._add(self._finder.feed(batch.events))

    def finish(self) -> None:
        """Note that the log has no more entries, unless the page is full without them; `RunNotFound`."""
        if not self._builder.full:
            self._add(self._finder.finish())
            self._filter.finish()

    def page(self) -> tuple[list[msgspec.Raw], str | None]:
        """Return the events of the page, and the cursor after the last one if more follow."""
        found, end = self._builder.finish()
        if end is None:
            return found, None
        tracker = Tracker(self._finder.at)
        tracker.add(event for event in self._events if event.position <= end)
        return found, str(tracker.cursor)

    def _add(self, events: Sequence[Event]) -> bool:
        self._events += events
        matcher = self._filter.matcher
        return self._builder.feed([event for event in events if matcher is None or matcher.match(event)])
