"""Streams of a log: pages of its events as they appear, with the cursor after each, and the end that a run lacks.

The platform writes no terminal event for a run whose runner has died, so a stream of that run adds a RUN_ERROR itself
once the run cannot go on: the session is gone or does not run, or a later run of the same thread is at work.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy

from app.agui.compaction import DeltaMerger
from app.agui.events import Event
from app.agui.lifecycle_events import OpenParts, run_error
from app.agui.outcome import final_status
from app.agui.page import STREAM_EVENTS, STREAM_PAGE, first_page
from app.agui.run_filter import normalize_run_id
from app.backends.ambient.cursors import Cursor, Tracker, end_of_lasting, locate
from app.backends.ambient.live_log import LiveLog
from app.backends.ambient.log_reader import LogSnapshot
from app.clock import now_ms
from app.errors import CursorExpired, SessionNotFound
from app.models.runs import RunSummary
from app.results import StreamEvent

_NO_END = "The run ended without reporting a result; its runner may have been stopped."

IsPending = Callable[[Callable[[], Sequence[RunSummary]]], Awaitable[bool]]
"""Returns whether a run without events is still to come, given what returns the runs of the log."""


class RunFollower:
    """Follower of one run in a log."""

    def __init__(self, run_id: str, thread_id: str, is_pending: IsPending) -> None:
        self._normalized_id = normalize_run_id(run_id)
        self._run_id = run_id
        self._thread_id = thread_id
        self._is_pending = is_pending
        self._parts = OpenParts()
        self._has_events = False
        self._has_begun = False
        self._has_ended = False
        self._other_runs_since = False

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return those of the log's next events that belong to the run, up to its end."""
        own: list[Event] = []
        for event in events:
            if event.run_id is None:
                continue
            if normalize_run_id(event.run_id) != self._normalized_id:
                self._other_runs_since = True
                continue
            own.append(event)
            self._has_events = True
            self._has_begun = self._has_begun or event.type not in {"RAW", "MESSAGES_SNAPSHOT"}
            self._run_id, self._thread_id = event.run_id, event.thread_id or self._thread_id
            self._parts.observe(event)
            if event.type == "RUN_STARTED":  # or again, if the id is used again
                self._has_ended = False
            self._has_ended = self._has_ended or final_status(event) is not None
        return own

    async def end(self, live: LiveLog) -> list[bytes] | None:
        """Return the events that the log lacks to end the run, none if it has ended; None while the run goes on."""
        if self._has_ended:
            return []
        return None if await self._goes_on(live) else self.break_off()

    def break_off(self) -> list[bytes]:
        """Return the events that end the run here; none if it has ended."""
        if self._has_ended:
            return []
        now = now_ms()
        error = run_error(self._thread_id, self._run_id, message=_NO_END, code="run_broke_off", timestamp=now)
        return [*self._parts.close(self._thread_id, self._run_id, now), error]

    async def _goes_on(self, live: LiveLog) -> bool:
        if not self._has_events:
            return await self._is_pending(live.summaries)
        if live.state.alive and self._has_begun and not self._other_runs_since:
            return True
        # Only events of other runs can show that a run was overtaken, and only time that it will never begin.
        self._other_runs_since = False
        runs = live.summaries()
        return not any(run.status.has_ended for run in runs if normalize_run_id(run.run_id) == self._normalized_id)


class _Pages:
    """Events of a log, in its order, as the pages of one stream."""

    def __init__(self, cursor: Cursor, run: RunFollower | None, *, compacted: bool) -> None:
        self._tracker = Tracker(cursor)
        self._run = run
        self._merger = DeltaMerger() if compacted else None
        self._cursors: dict[int, str] = {}
        self._count = 0

    @property
    def cursor(self) -> Cursor:
        return self._tracker.cursor

    def move(self, cursor: Cursor) -> None:
        """Note where the log, which was rewritten, has the place that has been reached."""
        self._tracker = Tracker(cursor)

    def of(self, events: Sequence[Event]) -> Iterator[list[StreamEvent]]:
        """Yield the next events in pages."""
        start = 0
        while page := list(first_page(events[start : start + STREAM_EVENTS], STREAM_PAGE)):
            start += len(page)
            yield self._page(page)

    def finish(self) -> list[StreamEvent]:
        """Return what is held back, since nothing follows."""
        return self._merged(self._merger.finish()) if self._merger else []

    def _page(self, events: Sequence[Event]) -> list[StreamEvent]:
        own = {id(event) for event in (self._run.feed(events) if self._run else events)}
        found: list[StreamEvent] = []
        for event in events:
            self._tracker.add([event])
            if id(event) not in own:
                continue
            if self._merger is None:
                found.append(StreamEvent(event.raw, str(self._tracker.cursor)))
                continue
            numbered = copy(event)
            self._count += 1
            numbered.source, numbered.position = event.raw, self._count
            self._cursors[self._count] = str(self._tracker.cursor)
            found += self._merged(self._merger.feed([numbered]))
        return found

    def _merged(self, events: Iterable[Event]) -> list[StreamEvent]:
        merged = [StreamEvent(event.raw, self._cursors[event.position]) for event in events]
        last = self._cursors.get(self._count)
        self._cursors = {} if last is None else {self._count: last}
        return merged


async def follow(
    opened: AbstractContextManager[LiveLog],
    first: LogSnapshot,
    cursor: Cursor,
    run: RunFollower | None,
    *,
    compacted: bool,
) -> AsyncGenerator[list[StreamEvent], None]:
    """Yield pages of the events after a cursor, `first` those of a reading; with a `run` only its events, to its end.

    The pages end when the session is deleted, or when the log no longer has what it had.
    """
    events, at = locate(first.events, cursor)
    if run:
        run.feed(first.events[: len(first.events) - len(events)])
    pages = _Pages(at, run, compacted=compacted)
    for page in pages.of(events):
        yield page
    with opened as live:
        tail = None
        try:
            tail = await live.join(pages.cursor, given=first.events[end_of_lasting(first.events) :])
            pages.move(tail.cursor)
            while True:
                seen = live.version
                while events := tail.take():
                    for page in pages.of(events):
                        yield page
                if run and (end := await run.end(live)) is not None:
                    break
                await live.changed(seen)
        except (SessionNotFound, CursorExpired):
            end = run.break_off() if run else []
        finally:
            live.leave(tail)
    yield [*pages.finish(), *map(StreamEvent, end)]
