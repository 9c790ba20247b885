"""Logs of the platform as they grow: one connection to its live stream serves all readers with the same token.

The live stream is quick and unreliable: its lines have no ids, it repeats the log at each connection, and it drops
lines for slow readers. The export is complete and slow, and is rewritten at the end of each run. So lines are published
at once, and the export is read whenever some may have been missed: when a connection has been made, when a run has
ended, and from time to time while one is active. Then those of its events are published that have not been.

    export  [ a a a a | b b b ]             `|` is the last lasting event of a reading, `b` are compared with what
    stream    a a a a   b b b   c c c       was published after it; lines that repeat the log are skipped
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from copy import copy

import structlog

from app.agui.events import Event
from app.agui.run_summaries import SummaryBuilder
from app.agui.sse import Decoder, EventTooLarge
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.cursors import Cursor, Tracker, digest, end_of_lasting, lasts, locate
from app.backends.ambient.live_events import OpenRuns
from app.backends.ambient.log_reader import LogReader, LogSnapshot, read_log
from app.backends.ambient.pending_runs import lost_before
from app.backends.ambient.repeated_log import RepeatedLog, deleted_entries
from app.backends.ambient.session_state import Runners, SessionState
from app.errors import BackendError, BackendTimeout, BackendUnavailable, CursorExpired
from app.models.caller import Caller
from app.models.runs import RunSummary
from app.waiting import is_set_within

READ_AGAIN_SECONDS = 15.0
"""Seconds after which the export of a session with an active run is read again."""

GIVE_UP_SECONDS = 60.0
"""Seconds for which readers are kept while the platform does not answer."""

MAX_UNREAD_BYTES = 32 << 20
"""Bytes of events that the stream may bring between two readings of the export; beyond that it is opened again."""

_TERMINAL = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_MAX_PUBLISHED = 1000  # published events beyond which those that every reader has got are dropped
_FAULTS = (BackendError, BackendTimeout, BackendUnavailable)

log = structlog.get_logger()


class LiveLog:
    """The log of one session, from a first reading on, for as long as it has readers."""

    def __init__(
        self,
        platform: PlatformApi,
        logs: LogReader,
        runners: Runners,
        caller: Caller,
        session_id: str,
        *,
        interval: float,
    ) -> None:
        self.users = 0
        self.readers: set[LogTail] = set()
        self.failure: Exception | None = None
        self.state = SessionState()
        self.view: list[Event] = []
        self._runs = SummaryBuilder()
        self._platform = platform
        self._logs = logs
        self._runners = runners
        self._caller = caller
        self._session_id = session_id
        self._interval = interval
        self.last_reading = LogSnapshot()
        self._synced = Cursor()  # the last lasting event of the last reading
        self._recent: Counter[str] = Counter()  # digests of what was published after it
        self._overtaken: Counter[str] = Counter()  # digests of what the export had first and the stream may still bring
        self._open = OpenRuns(session_id)
        self._ended: set[str] = set()
        self._published: list[Event] = []
        self._dropped = 0
        self._position = 0
        self.version = 0
        self._change = asyncio.Event()
        self._unread = 0  # bytes of what was published since the last reading
        self._since: list[Event] = []  # what was published since the export was requested
        self._deleted: list[Event] = []  # what a rewrite has deleted since the stream was requested
        self._readings = 0
        self._opened = 0  # number of streams so far
        self._joining = False  # a stream has been opened, and what it repeats is not known yet
        self._repeated = RepeatedLog((), (), ())
        self._disconnected = asyncio.Event()
        self._disconnected.set()
        self._unsure = False  # events may have been missed, so the export is to be read
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, first: LogSnapshot) -> None:
        """Follow the log from this reading on."""
        self.state = first.state
        self._observe(first.events)
        self._note_reading(first)
        self._tasks = [asyncio.create_task(work) for work in (self._follow_stream(), self._watch_session())]

    def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()

    @property
    def is_current(self) -> bool:
        """Return whether the stream is connected, so that what it brings is known at once."""
        return self.failure is None and not self._disconnected.is_set()

    async def join(self, cursor: Cursor, given: Sequence[Event]) -> "LogTail":
        """Return a reader of what follows a cursor, once the event at the cursor has been published; `CursorExpired`.

        The reader may have read the export later than this log has. Of the next two readings here, the second is
        requested after the reader's own. If it lacks the events that the reader was `given`, a rewrite has deleted
        them, and the stream may still bring them.
        """
        enough = self._readings + 2
        while True:
            seen, late = self.version, self._readings >= enough
            try:
                first, at = locate(self.view, cursor)
            except CursorExpired:
                if late:
                    raise
            else:
                if late or at == cursor:
                    expected = () if at == cursor else given
                    tail = LogTail(self, first, at, self._dropped + len(self._published), expected)
                    self.readers.add(tail)
                    return tail
            self._unsure = True
            await self.changed(seen)

    def leave(self, tail: "LogTail | None") -> None:
        """Remove a reader, if there is one."""
        if tail:
            self.readers.discard(tail)

    def summaries(self) -> list[RunSummary]:
        """Return the runs in the events that have been published."""
        return self._runs.summaries(
            session_running=self.state.alive, running_since=self.state.since, lost_before=lost_before()
        )

    def published(self, since: int) -> list[Event]:
        """Return what has been published since a place in the sequence of all published events."""
        return self._published[since - self._dropped :]

    async def changed(self, seen: int) -> None:
        """Wait until the `version` is later than the one that was seen; raise the error that has ended following."""
        if self.failure:
            raise self.failure
        if self.version == seen:
            await self._change.wait()

    # The platform's side

    async def _follow_stream(self) -> None:
        """Reconnect whenever the stream ends: at once if it lasted for a while, otherwise after a pause."""
        now = asyncio.get_running_loop().time
        try:
            while True:
                since, self._deleted = now(), []
                try:
                    async with aclosing(self._platform.events(self._caller, self._session_id)) as pieces:
                        await anext(pieces)
                        self._opened += 1
                        await self._read_stream(pieces)
                except (*_FAULTS, StopAsyncIteration, ValueError) as error:
                    log.debug("platform_stream_ended", reason=type(error).__name__)
                finally:
                    self._joining = False
                    self._disconnected.set()
                if now() < since + self._interval:
                    await asyncio.sleep(self._interval)
        except Exception as error:
            self._fail(error)

    async def _read_stream(self, pieces: AsyncGenerator[bytes, None]) -> None:
        """Publish what the stream brings, except for what it repeats of the log and has been published."""
        self._joining = True
        read = await self._read_log()
        deleted = [*self._deleted, *deleted_entries(self.view, read.events)]
        self._repeated = RepeatedLog(*self._split(read), deleted)
        self._overtaken.clear()
        self._joining = False
        self._disconnected.clear()
        self._unsure = True
        decoder = Decoder()
        async for piece in pieces:
            for line in decoder.feed(piece):
                self._take(line)
            self._notify()
            if self._unread > MAX_UNREAD_BYTES:
                raise EventTooLarge

    def _take(self, line: bytes) -> None:
        """Publish a line of the stream unless it repeats what has been published."""
        if self._repeated.has_line(line):
            return
        event = self._open.complete(line)
        if event is None:
            return
        key = digest(event.raw)
        if self._repeated.has(key):
            return
        if self._overtaken[key] > 0:
            self._overtaken[key] -= 1
        elif self._repeated.is_over or self._is_due(event):
            self._publish([event])

    def _is_due(self, event: Event) -> bool:
        """Return whether an event is to be published: text of a run whose end has been published is too late."""
        return lasts(event) or event.run_id not in self._ended

    async def _watch_session(self) -> None:
        loop = asyncio.get_running_loop()
        answered = read_at = loop.time()
        try:
            while True:
                await asyncio.sleep(self._interval)
                try:
                    state = SessionState.of(await self._platform.get_session(self._caller, self._session_id))
                    if self._open.any:
                        state = await self._runners.look(self._caller, self._session_id, state)
                    ends = state.alive is not self.state.alive
                    due = self._open.any and loop.time() > read_at + READ_AGAIN_SECONDS
                    if self._unsure or due or self._disconnected.is_set() or ends:
                        self._unsure = False
                        await self._catch_up()
                        read_at = loop.time()
                    self.state = state
                    self._notify()
                    answered = loop.time()
                except _FAULTS:
                    self._unsure = True
                    if loop.time() > answered + GIVE_UP_SECONDS:
                        raise
        except Exception as error:
            self._fail(error)

    async def _catch_up(self) -> None:
        """Read the export, give the stream time to bring the same events, and publish those that it has not brought.

        A stream that connects meanwhile repeats the log, including words that a rewrite deletes. So it goes first.
        """
        self._since, opened = [], self._opened
        read = await self._read_log()
        await is_set_within(self._disconnected, self._interval)
        if self._joining or self._opened > opened:
            self._unsure = True
            return
        _, missed = self._split(read)
        found = [event for event in missed if self._is_due(event)]
        self._overtaken += Counter(digest(event.raw) for event in found)
        self._publish(found)
        unread = Counter(self._recent) - Counter(digest(event.raw) for event in self._following(read))
        newer = []
        for event in self._since:
            key = digest(event.raw)
            if unread[key] > 0:
                unread[key] -= 1
                newer.append(event)
        self._note_reading(read, newer)

    async def _read_log(self) -> LogSnapshot:
        return await read_log(self._logs, self._caller, self._session_id, self.last_reading)

    def _following(self, read: LogSnapshot) -> list[Event]:
        """Return what a reading has after the last lasting event of the one before; `CursorExpired`."""
        return locate(read.events, self._synced)[0]

    def _split(self, read: LogSnapshot) -> tuple[list[Event], list[Event]]:
        """Return the events of a reading that have been published, and those that have not; `CursorExpired`."""
        following = self._following(read)
        published, known, missed = Counter(self._recent), list(read.events[: -len(following) or None]), []
        for event in following:
            key = digest(event.raw)
            if published[key] > 0:
                published[key] -= 1
                known.append(event)
            else:
                missed.append(event)
        return known, missed

    # Publishing

    def _publish(self, found: Sequence[Event]) -> None:
        events = []
        for event in map(copy, found):
            self._position += 1
            event.source, event.position = event.raw, self._position
            self._recent[digest(event.raw)] += 1
            events.append(event)
        self._observe(events)
        self._published += events
        self._unread += sum(len(event.raw) for event in events)
        self._since += events

    def _observe(self, events: Sequence[Event]) -> None:
        self.view += events
        self._runs.feed(events)
        for event in events:
            self._open.add(event)
            if event.run_id is None:
                continue
            if event.type in _TERMINAL:
                self._ended.add(event.run_id)
                self._unsure = True
            elif event.type == "RUN_STARTED":
                self._ended.discard(event.run_id)

    def _note_reading(self, read: LogSnapshot, newer: Sequence[Event] = ()) -> None:
        """Compare later readings with this one, all of whose events have been published.

        `newer` are published events that came after it.
        """
        self._readings += 1
        self._unread = 0
        view = [*read.events, *newer]
        if self._disconnected.is_set():
            known = self.last_reading.events
            same = len(known) if known and read.events[len(known) - 1 : len(known)] == [known[-1]] else 0
            self._deleted += deleted_entries(self.view[same:], view[same:])
        self.last_reading, self.view = read, view
        self._position = max(self._position, len(self.view))
        end = end_of_lasting(read.events)
        tracker = Tracker()
        tracker.add(read.events[:end])
        self._synced = tracker.cursor
        self._recent = Counter(digest(event.raw) for event in self.view[end:])

    def _notify(self) -> None:
        self.version += 1
        change, self._change = self._change, asyncio.Event()
        change.set()
        if len(self._published) > _MAX_PUBLISHED:
            seen = min((reader.place for reader in self.readers), default=self._dropped) - self._dropped
            del self._published[:seen]
            self._dropped += seen

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.close()
        self._notify()


class LogTail:
    """One reader of a `LiveLog`: it takes what the log has after a `cursor`, then what is published.

    Events that it was `given` before are left out.
    """

    def __init__(self, live: LiveLog, first: list[Event], cursor: Cursor, place: int, given: Sequence[Event]) -> None:
        self.cursor = cursor
        self.place = place
        self._live = live
        self._first = first
        self._given = Counter(digest(event.raw) for event in given)

    def take(self) -> list[Event]:
        """Return the events that have not been taken yet."""
        first, self._first = self._first, []
        new_events = self._live.published(self.place)
        self.place += len(new_events)
        found = [*first, *new_events]
        return [event for event in found if not self._was_given(event)] if self._given else found

    def _was_given(self, event: Event) -> bool:
        key = digest(event.raw)
        self._given[key] -= 1
        if self._given[key] < 0:
            del self._given[key]
            return False
        return True
