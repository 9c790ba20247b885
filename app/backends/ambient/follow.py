"""Following a log: pages of its events as they appear, and the end of a run that the log lacks.

The platform writes no terminal event for a run whose runner has died, so a follower of that run adds a RUN_ERROR itself
once the run cannot go on: the session is not running, or a later run of the same thread has started.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import Event
from app.agui.lifecycle_events import OpenParts, run_error
from app.agui.outcome import final_status
from app.agui.page import STREAM_EVENTS, STREAM_PAGE, first_page, stream_events
from app.agui.run_filter import normalize_run_id
from app.agui.run_summaries import summaries
from app.backends.ambient.poller import LogPoller, LogSnapshot
from app.clock import now_ms
from app.errors import SessionNotFound
from app.results import StreamEvent

_NO_END = "The run ended without reporting a result; its runner may have been stopped."


class RunFollower:
    """Follower of one run in a log; `is_pending` returns whether a run without events is still to come."""

    def __init__(self, run_id: str, thread_id: str, is_pending: Callable[[LogSnapshot], Awaitable[bool]]) -> None:
        self._normalized_id = normalize_run_id(run_id)
        self._run_id = run_id
        self._thread_id = thread_id
        self._is_pending = is_pending
        self._parts = OpenParts()
        self._has_events = False
        self._has_ended = False
        self._other_runs_since = False

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return those of the log's next events that belong to the run."""
        own = []
        for event in events:
            if event.run_id is None:
                continue
            if normalize_run_id(event.run_id) != self._normalized_id:
                self._other_runs_since = True
                continue
            own.append(event)
            self._has_events = True
            self._run_id, self._thread_id = event.run_id, event.thread_id or self._thread_id
            self._parts.observe(event)
            self._has_ended = self._has_ended or final_status(event) is not None
        return own

    async def end(self, log: LogSnapshot) -> list[bytes] | None:
        """Return the events that the log lacks to end the run, none if it has ended; None while the run goes on."""
        if self._has_ended:
            return []
        if await self._goes_on(log):
            return None
        now = now_ms()
        error = run_error(self._thread_id, self._run_id, message=_NO_END, code="run_broke_off", timestamp=now)
        return [*self._parts.close(self._thread_id, self._run_id, now), error]

    async def _goes_on(self, log: LogSnapshot) -> bool:
        if not self._has_events:
            return await self._is_pending(log)
        if log.running and not self._other_runs_since:
            return True
        # Summarizing the log is slow, and only events of other runs can show that this one was overtaken.
        self._other_runs_since = False
        return not await asyncio.to_thread(self._is_final, log)

    def _is_final(self, log: LogSnapshot) -> bool:
        runs = summaries(log.events, session_running=log.running)
        return any(run.status.has_ended for run in runs if normalize_run_id(run.run_id) == self._normalized_id)


async def follow(
    poller: LogPoller, log: LogSnapshot, after: int, run: RunFollower | None, *, compacted: bool
) -> AsyncGenerator[list[StreamEvent], None]:
    """Yield pages of the events after a position, first those of `log`; with a `run` only its events, until its end.

    The pages end when the session is deleted, or when the log no longer has the last event that was sent where it was.
    """
    merger = DeltaMerger()
    last = log.events[after - 1].raw if after else msgspec.Raw()
    if run:
        await asyncio.to_thread(run.feed, log.events[:after])
    while len(log.events) >= after and (not after or bytes(log.events[after - 1].raw) == bytes(last)):
        while page := list(first_page(log.events[after : after + STREAM_EVENTS], STREAM_PAGE)):
            after, last = page[-1].position, page[-1].raw
            found = run.feed(page) if run else page
            yield stream_events(merger.feed(found) if compacted else found)
        if run and (end := await run.end(log)) is not None:
            yield [*stream_events(merger.finish()), *map(StreamEvent, end)]
            return
        try:
            log = await poller.after(log)
        except SessionNotFound:
            yield stream_events(merger.finish())
            return
