"""Output of sessions on the platform: a session's log as a document, a page or a stream, and its text log."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable

from app.agui.client_stream import client_stream
from app.agui.cursors import to_cursor, to_position
from app.agui.message_ids import known_ids
from app.agui.run_filter import of_run
from app.agui.run_input import RunInput, normalize_run_input
from app.agui.run_summaries import summaries
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.follow import RunFollower, follow
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.poller import LogPollers, LogSnapshot
from app.backends.ambient.runs import AmbientRuns
from app.errors import CursorExpired, NotRunning, RunExists, RunNotFound
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.results import EventStream, StreamedBody, StreamEvent


class AmbientOutput:
    """Operations that return what a session's agent has produced, and the runs of AG-UI clients, which stream it."""

    def __init__(
        self, platform: PlatformApi, pending: PendingRuns, logs: LogReader, pollers: LogPollers, runs: AmbientRuns
    ) -> None:
        self._platform = platform
        self._pending = pending
        self._logs = logs
        self._pollers = pollers
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
        """Stream the events after a cursor, read by polling the log.

        If a run ended without a terminal event, one is added, without a cursor.
        """
        log = await self._pollers.read(caller, session_id)
        run = await self._run_follower(caller, session_id, run_id, log) if run_id else None
        position = to_position(after)
        if position > len(log.events):
            raise CursorExpired
        pages = self._pages(caller, session_id, log, position, run, compacted=format is OutputFormat.COMPACT)
        return EventStream(pages)

    async def run_agent(self, caller: Caller, session_id: str, run_input: RunInput) -> EventStream:
        """Start a run with the messages that its log does not have, and stream its events."""
        log = await self._pollers.read(caller, session_id)
        if not log.running:
            raise NotRunning
        in_log, known = await asyncio.to_thread(_find_known, log, session_id, run_input["runId"])
        if in_log or self._pending.get(caller.project, session_id, run_input["runId"]):
            raise RunExists
        normalized = normalize_run_input(run_input, thread_id=session_id, known=known)
        accepted = await self._runs.submit(caller, session_id, normalized)

        def follow_run(run_id: str, format: OutputFormat) -> Awaitable[EventStream]:
            end = to_cursor(len(log.events))
            return self.stream_session_events(caller, session_id, after=end, run_id=run_id, format=format)

        return client_stream(accepted, run_input["threadId"], follow_run, run_input["messages"])

    async def get_session_logs(self, caller: Caller, session_id: str, tail: int) -> str:
        """Return the last `tail` lines that the session's runner wrote, where the platform offers them."""
        await self._platform.get_session(caller, session_id)
        return await self._platform.logs(caller, session_id, tail)

    async def _run_follower(self, caller: Caller, session_id: str, run_id: str, log: LogSnapshot) -> RunFollower:
        async def is_pending(log: LogSnapshot) -> bool:
            run = self._pending.get(caller.project, session_id, run_id)
            if run is None or not self._pending.is_overdue(run):
                return run is not None
            runs = await asyncio.to_thread(summaries, log.events, session_running=log.running)
            return run in self._pending.waiting(caller.project, session_id, runs)

        if next(of_run(log.events, run_id), None) is None and not await is_pending(log):
            raise RunNotFound
        return RunFollower(run_id, session_id, is_pending)

    async def _pages(
        self, caller: Caller, session_id: str, log: LogSnapshot, after: int, run: RunFollower | None, *, compacted: bool
    ) -> AsyncGenerator[list[StreamEvent], None]:
        with self._pollers.follow(caller, session_id, log) as poller:
            async for page in follow(poller, log, after, run, compacted=compacted):
                yield page


def _find_known(log: LogSnapshot, session_id: str, run_id: str) -> tuple[bool, set[str]]:
    """Return whether the log has the run, and the ids of the messages that it has on the session's own thread."""
    in_log = next(of_run(log.events, run_id), None) is not None
    return in_log, known_ids(event for event in log.events if event.thread_id in (None, session_id))
