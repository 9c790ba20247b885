"""Output of sessions on the platform: a session's log as a document, a page or a stream, and its text log."""

import asyncio
from collections.abc import Callable, Sequence

from app.agui.run_filter import of_run
from app.agui.run_summaries import summaries
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.cursors import Cursor, locate
from app.backends.ambient.follow import RunFollower, follow
from app.backends.ambient.live_logs import LiveLogs
from app.backends.ambient.log_reader import LogReader, LogSnapshot
from app.backends.ambient.pending_runs import PendingRuns, lost_before
from app.errors import RunNotFound
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.models.runs import RunSummary
from app.port.output import Output
from app.results import EventStream, StreamedBody


class AmbientOutput(Output):
    """Operations that read a session's log or the text log of its runner."""

    def __init__(self, platform: PlatformApi, pending: PendingRuns, logs: LogReader, live: LiveLogs) -> None:
        self._platform = platform
        self._pending = pending
        self._logs = logs
        self._live = live

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedBody:
        """Return the log, or one run's; that of a pending run is empty."""
        await self._platform.get_session(caller, session_id)
        pending = run_id is not None and self._pending.get(caller.project, session_id, run_id) is not None
        if format is OutputFormat.TRANSCRIPT:
            return self._logs.transcript(caller, session_id, run_id, accepted=pending)
        if page:
            return await self._logs.page(caller, session_id, format, run_id, page, accepted=pending)
        return self._logs.events(caller, session_id, format, run_id, accepted=pending)

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: str | None, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """Stream the events after a cursor, then what the platform's own stream brings.

        If a run ended without a terminal event, one is added, without a cursor.
        """
        cursor = Cursor.parse(after)
        log = await self._live.read(caller, session_id)
        run = await self._run_follower(caller, session_id, run_id, log) if run_id else None
        await asyncio.to_thread(locate, log.events, cursor)
        compacted = format is OutputFormat.COMPACT
        pages = follow(self._live.follow(caller, session_id, log), log, cursor, run, compacted=compacted)
        return EventStream(pages)

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """Return the last `tail` events of the session's pod, a line each: why it does not start, or has ended."""
        await self._platform.get_session(caller, session_id)
        events = await self._platform.pod_events(caller, session_id)
        return "".join(f"{mapping.log_line(event)}\n" for event in events[-tail:])

    async def _run_follower(self, caller: Caller, session_id: str, run_id: str, log: LogSnapshot) -> RunFollower:
        async def is_pending(runs: Callable[[], Sequence[RunSummary]]) -> bool:
            run = self._pending.get(caller.project, session_id, run_id)
            if run is None or not self._pending.is_overdue(run):
                return run is not None
            return run in self._pending.waiting(caller.project, session_id, runs())

        def logged() -> Sequence[RunSummary]:
            return summaries(
                log.events,
                session_running=log.state.alive,
                running_since=log.state.since,
                lost_before=lost_before(),
            )

        if next(of_run(log.events, run_id), None) is None and not await is_pending(logged):
            raise RunNotFound
        return RunFollower(run_id, session_id, is_pending)
