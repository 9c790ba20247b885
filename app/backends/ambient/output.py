"""Output of sessions on the platform: a session's log as a document, a page or a stream, and its text log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.agui.client_stream import client_stream
from app.agui.message_ids import known_ids
from app.agui.run_filter import of_run
from app.agui.run_input import RunInput, normalize_run_input
from app.agui.run_summaries import summaries
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.cursors import Cursor, Tracker, locate
from app.backends.ambient.follow import RunFollower, follow
from app.backends.ambient.live_log import LiveLogs
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.log_snapshot import LogSnapshot
from app.backends.ambient.pending_runs import PendingRuns, lost_before
from app.backends.ambient.runs import AmbientRuns
from app.errors import NotRunning, RunExists, RunNotFound
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.models.runs import RunSummary
from app.models.sessions import SessionStatus
from app.results import EventStream, StreamedBody


class AmbientOutput:
    """Operations that return what a session's agent has produced, and the runs of AG-UI clients, which stream it."""

    def __init__(
        self, platform: PlatformApi, pending: PendingRuns, logs: LogReader, live: LiveLogs, runs: AmbientRuns
    ) -> None:
        self._platform = platform
        self._pending = pending
        self._logs = logs
        self._live = live
        self._runs = runs

    async def get_session_output(
        self, caller: Caller, session_id: str, format: OutputFormat, run_id: str | None, page: LogPage | None
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

    async def run_agent(self, caller: Caller, session_id: str, run_input: RunInput) -> EventStream:
        """Start a run with the messages that its log does not have, and stream its events."""
        log = await self._live.read(caller, session_id)
        if log.status is not SessionStatus.RUNNING:
            raise NotRunning
        in_log, known, end = await asyncio.to_thread(_find_known, log, session_id, run_input["runId"])
        if in_log or self._pending.get(caller.project, session_id, run_input["runId"]):
            raise RunExists
        normalized = normalize_run_input(run_input, thread_id=session_id, known=known)
        accepted = await self._runs.submit(caller, session_id, normalized)

        def follow_run(run_id: str, format: OutputFormat) -> Awaitable[EventStream]:
            return self.stream_session_events(caller, session_id, after=end, run_id=run_id, format=format)

        return client_stream(accepted, run_input["threadId"], follow_run, run_input["messages"])

    async def get_session_logs(self, caller: Caller, session_id: str, tail: int) -> str:
        """Return the last `tail` lines that the session's runner wrote, where the platform offers them."""
        await self._platform.get_session(caller, session_id)
        return await self._platform.logs(caller, session_id, tail)

    async def _run_follower(self, caller: Caller, session_id: str, run_id: str, log: LogSnapshot) -> RunFollower:
        async def is_pending(runs: Callable[[], Sequence[RunSummary]]) -> bool:
            run = self._pending.get(caller.project, session_id, run_id)
            if run is None or not self._pending.is_overdue(run):
                return run is not None
            return run in self._pending.waiting(caller.project, session_id, runs())

        def logged() -> Sequence[RunSummary]:
            return summaries(log.events, session_running=log.alive, lost_before=lost_before())

        if next(of_run(log.events, run_id), None) is None and not await is_pending(logged):
            raise RunNotFound
        return RunFollower(run_id, session_id, is_pending)


def _find_known(log: LogSnapshot, session_id: str, run_id: str) -> tuple[bool, set[str], str]:
    """Return whether the log has the run, the ids of the messages on the session's own thread, and the log's end."""
    in_log = next(of_run(log.events, run_id), None) is not None
    tracker = Tracker()
    tracker.add(log.events)
    known = known_ids(event for event in log.events if event.thread_id in (None, session_id))
    return in_log, known, str(tracker.cursor)
