"""What a follower gets of the platform's log: its events, and the end of a run that the log does not have."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import Event
from app.agui.lifecycle_events import OpenParts, run_error
from app.agui.outcome import outcome
from app.agui.page import STREAM_EVENTS, STREAM_PAGE, cut, stream_events
from app.agui.run_filter import normalize_run_id
from app.agui.run_summaries import summaries
from app.backends.ambient.poller import LogPoller, LogSnapshot
from app.clock import now_ms
from app.errors import SessionNotFound
from app.results import StreamEvent

BROKE_OFF = "The run broke off."


class RunFollower:
    """One run in a log that may lack its end; `is_waiting` says whether one that it lacks is on its way still."""

    def __init__(self, run_id: str, thread_id: str, is_waiting: Callable[[LogSnapshot], Awaitable[bool]]) -> None:
        self._key = normalize_run_id(run_id)
        self._run_id = run_id
        self._thread_id = thread_id
        self._is_waiting = is_waiting
        self._parts = OpenParts()
        self._seen = False
        self._ended = False
        self._others = False

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Those of the log's next events that are the run's."""
        mine = []
        for event in events:
            if event.run_id is None:
                continue
            if normalize_run_id(event.run_id) != self._key:
                self._others = True
                continue
            mine.append(event)
            self._seen = True
            self._run_id, self._thread_id = event.run_id, event.thread_id or self._thread_id
            self._parts.observe(event)
            self._ended = self._ended or outcome(event) is not None
        return mine

    async def end(self, log: LogSnapshot) -> list[bytes] | None:
        """What the log lacks of the run's end, nothing if it has it; None while the run goes on."""
        if self._ended:
            return []
        if await self._goes_on(log):
            return None
        now = now_ms()
        error = run_error(self._thread_id, self._run_id, message=BROKE_OFF, code="run_broke_off", timestamp=now)
        return [*self._parts.close(self._thread_id, self._run_id, now), error]

    async def _goes_on(self, log: LogSnapshot) -> bool:
        if not self._seen:
            return await self._is_waiting(log)
        if log.running and not self._others:
            return True
        # Only what other runs have done since may have overtaken it.
        self._others = False
        return not await asyncio.to_thread(self._is_over, log)

    def _is_over(self, log: LogSnapshot) -> bool:
        runs = summaries(log.events, session_running=log.running)
        return any(run.status.is_final for run in runs if normalize_run_id(run.run_id) == self._key)


async def follow(
    watch: LogPoller, log: LogSnapshot, after: int, run: RunFollower | None, *, compacted: bool
) -> AsyncGenerator[list[StreamEvent], None]:
    """Pages of the log behind `after`, first those of `log`; or of one run's until its end.

    Ends once the session is deleted, or the log is no longer the one that was read so far.
    """
    joiner = DeltaMerger()
    last = log.events[after - 1].raw if after else msgspec.Raw()
    if run:
        await asyncio.to_thread(run.take, log.events[:after])
    while len(log.events) >= after and (not after or bytes(log.events[after - 1].raw) == bytes(last)):
        while page := list(cut(log.events[after : after + STREAM_EVENTS], STREAM_PAGE)):
            after, last = page[-1].position, page[-1].raw
            found = run.take(page) if run else page
            yield stream_events(joiner.feed(found) if compacted else found)
        if run and (end := await run.end(log)) is not None:
            yield [*stream_events(joiner.finish()), *map(StreamEvent, end)]
            return
        try:
            log = await watch.after(log)
        except SessionNotFound:
            yield stream_events(joiner.finish())
            return
