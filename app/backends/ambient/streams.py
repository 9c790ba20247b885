"""Event streams on the platform: frames come from its export alone."""

import asyncio
from collections.abc import AsyncGenerator

from app.agui.runs import summaries
from app.agui.select import of_run
from app.answers import EventStream, Frame
from app.backend import Backend
from app.backends.ambient.accepted import AcceptedRuns
from app.backends.ambient.following import FollowedRun, follow
from app.backends.ambient.log import Log
from app.backends.ambient.watch import Watches
from app.errors import CursorAhead, RunNotFound
from app.types import Caller, OutputFormat


class AmbientStreams(Backend):
    """The part of the port that is about streams."""

    _accepted: AcceptedRuns
    _watches: Watches

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: int, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Follow the log by reading it anew; the end of a run that broke off is supplied, without a position."""
        log = await self._watches.read(caller, session_id)
        run = await self._followed(caller, session_id, run_id, log) if run_id else None
        if after > len(log.events):
            raise CursorAhead
        return EventStream(self._pages(caller, session_id, log, after, run, compacted=format is OutputFormat.COMPACT))

    async def _followed(self, caller: Caller, session_id: str, run_id: str, log: Log) -> FollowedRun:
        async def is_waiting(log: Log) -> bool:
            run = self._accepted.get(caller.project, session_id, run_id)
            if run is None or not self._accepted.is_overdue(run):
                return run is not None
            runs = await asyncio.to_thread(summaries, log.events, session_running=log.running)
            return run in self._accepted.waiting(caller.project, session_id, runs)

        if next(of_run(log.events, run_id), None) is None and not await is_waiting(log):
            raise RunNotFound
        return FollowedRun(run_id, session_id, is_waiting)

    async def _pages(
        self, caller: Caller, session_id: str, log: Log, after: int, run: FollowedRun | None, *, compacted: bool
    ) -> AsyncGenerator[list[Frame], None]:
        with self._watches.follow(caller, session_id, log) as watch:
            async for page in follow(watch, log, after, run, compacted=compacted):
                yield page
