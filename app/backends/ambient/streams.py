"""Event streams on the platform: frames come from its export alone."""

import asyncio
from collections.abc import AsyncGenerator

from app.agui.run_filter import of_run
from app.agui.run_summaries import summaries
from app.backend import Backend
from app.backends.ambient.follow import RunFollower, follow
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.poller import LogPollers, LogSnapshot
from app.errors import CursorAhead, RunNotFound
from app.models.caller import Caller
from app.models.output import OutputFormat
from app.results import EventStream, StreamEvent


class AmbientStreams(Backend):
    """The part of the port that is about streams."""

    _accepted: PendingRuns
    _watches: LogPollers

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: int, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Follow the log by reading it anew; the end of a run that broke off is supplied, without a position."""
        log = await self._watches.read(caller, session_id)
        run = await self._followed(caller, session_id, run_id, log) if run_id else None
        if after > len(log.events):
            raise CursorAhead
        return EventStream(self._pages(caller, session_id, log, after, run, compacted=format is OutputFormat.COMPACT))

    async def _followed(self, caller: Caller, session_id: str, run_id: str, log: LogSnapshot) -> RunFollower:
        async def is_waiting(log: LogSnapshot) -> bool:
            run = self._accepted.get(caller.project, session_id, run_id)
            if run is None or not self._accepted.is_overdue(run):
                return run is not None
            runs = await asyncio.to_thread(summaries, log.events, session_running=log.running)
            return run in self._accepted.waiting(caller.project, session_id, runs)

        if next(of_run(log.events, run_id), None) is None and not await is_waiting(log):
            raise RunNotFound
        return RunFollower(run_id, session_id, is_waiting)

    async def _pages(
        self, caller: Caller, session_id: str, log: LogSnapshot, after: int, run: RunFollower | None, *, compacted: bool
    ) -> AsyncGenerator[list[StreamEvent], None]:
        with self._watches.follow(caller, session_id, log) as watch:
            async for page in follow(watch, log, after, run, compacted=compacted):
                yield page
