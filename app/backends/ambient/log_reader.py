"""The logs of the platform's sessions, read out of its exports slice by slice."""

from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

import msgspec

from app.agui.events import BYTES, EVENTS, E, Event, EventBatch, EventDecoder, OpaqueEvent, require_utf8
from app.agui.export_splitter import ExportSplitter
from app.agui.page import PageBuilder
from app.agui.prefix import LogPrefix, LogRewritten, PrefixHasher
from app.agui.renderers import EventLogWriter, RunFilter, RunSummarizer, TranscriptWriter
from app.agui.run_filter import normalize_run_id
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.errors import sanitize, translate_errors
from app.backends.ambient.log_cache import LONG_LOG, CachedLog, Checkpoint, Checkpoints, LogCache
from app.errors import CursorAhead
from app.fair_turns import Log, Turns, in_turns, read, write
from app.models.caller import Caller
from app.models.output import EventFormat, EventLog, LogPage, OutputFormat
from app.models.runs import RunSummary
from app.results import StreamedJson

T = TypeVar("T", RunSummarizer, TranscriptWriter)


class LogUpdate(NamedTuple):
    """Entries of a log as they stand, and all of it; `grown` says that they come behind what was known."""

    entries: list[msgspec.Raw]
    prefix: LogPrefix | None
    grown: bool


class LogReader:
    """What the log of a session tells; the session itself is to be read first.

    An export that is no JSON object raises BackendUnavailable, and so does what is read or shown of it and no UTF-8.
    Its `aguiEvents` count as none where they are null, missing or no list. With a `run_id` only that run's events
    count: RunNotFound if there are none, and the run is not `accepted` either.

    The platform gives a log as a whole, however little of it is asked for. What a long one has told is remembered, and
    where its pages begin; of one that begins as it did, only what is behind that is read.
    """

    def __init__(self, platform: PlatformApi) -> None:
        self._platform = platform
        self._turns = Turns()
        self._runs: LogCache[CachedLog[RunSummarizer]] = LogCache(1 << 23)
        self._transcripts: LogCache[CachedLog[TranscriptWriter]] = LogCache(1 << 26)
        self._landmarks: LogCache[Checkpoints] = LogCache(1 << 23)

    async def update(self, caller: Caller, session_id: str, known: LogPrefix | None) -> LogUpdate:
        """What the log holds behind what is known of it, or all of it if that has changed."""
        found: list[msgspec.Raw] = []

        def take(entries: EventBatch[OpaqueEvent]) -> None:
            with translate_errors:
                require_utf8(entries.array)
            found.extend(entries.raws())

        if known:
            with suppress(LogRewritten):
                return LogUpdate(found, await self._read_on(caller, session_id, BYTES, known, take), grown=True)
        return LogUpdate(found, await self._read_on(caller, session_id, BYTES, None, take), grown=False)

    async def runs(self, caller: Caller, session_id: str, *, session_running: bool) -> list[RunSummary]:
        """The runs in the order of their start, their errors fit for a client to read."""
        async with self._transcript_writer(caller, session_id, self._runs, RunSummarizer) as told:
            summaries = told.summaries(session_running=session_running)
        for run in summaries:
            if run.error is not None:
                run.error = sanitize(run.error, "Run failed")
        return summaries

    async def has_run(self, caller: Caller, session_id: str, run_id: str) -> bool:
        """Whether there is an event of the run."""
        async with self._transcript_writer(caller, session_id, self._runs, RunSummarizer) as told:
            return told.has(run_id)

    def transcript(self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool) -> StreamedJson:
        """The conversation as a `Transcript`."""
        return StreamedJson(_text(self._transcript(caller, session_id, run_id, accepted=accepted)))

    def written(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, *, accepted: bool
    ) -> StreamedJson:
        """The events as an `EventLog`."""
        written = EventLogWriter(session_id, format, RunFilter(run_id, accepted=accepted))
        return StreamedJson(_text(write(self._log(caller, session_id, written.reading), self._turns, written)))

    async def page(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, page: LogPage, *, accepted: bool
    ) -> EventLog:
        """A page of that; CursorAhead for one that begins behind the log's end."""
        asked = (caller.project, session_id, run_id and normalize_run_id(run_id), accepted)

        async def filled(landmarks: Checkpoints) -> PageBuilder:
            filling = PageBuilder(page, compacted=format is OutputFormat.COMPACT)
            events = RunFilter(run_id, accepted=accepted)
            try:
                await self._fill(caller, session_id, filling, events, landmarks, after=page.after)
            finally:
                if landmarks.size:
                    self._landmarks.put(asked, landmarks)
            return filling

        try:
            filling = await filled(self._landmarks.pop(asked) or Checkpoints())
        except LogRewritten:
            filling = await filled(Checkpoints())
        found, next_after = filling.finish()
        with translate_errors:
            for raw in found:
                require_utf8(raw)
        return EventLog(session_id=session_id, format=format, events=found, next_after=next_after)

    async def _fill(
        self,
        caller: Caller,
        session_id: str,
        filling: PageBuilder,
        events: RunFilter,
        landmarks: Checkpoints,
        *,
        after: int,
    ) -> None:
        """Fill a page from the last place before it, and note those that follow."""
        place = landmarks.before(after)
        if place:
            events.end, events.missing = place.end, place.missing
        trail = PrefixHasher(place and place.prefix)

        def take(entries: EventBatch[Event]) -> bool:
            taken = events.feed(entries)
            if prefix := trail.prefix:
                landmarks.add(Checkpoint(events.end, events.missing, prefix))
            return filling.feed(taken.all())

        await read(self._log(caller, session_id, EVENTS, trail), self._turns, take)
        if not filling.full:
            events.finish()
            if after > events.end:
                raise CursorAhead

    async def _transcript(
        self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool
    ) -> AsyncGenerator[bytes, None]:
        def fresh() -> TranscriptWriter:
            return TranscriptWriter(session_id, RunFilter(run_id, accepted=accepted), session_running=True)

        asked = run_id and normalize_run_id(run_id), accepted
        async with self._transcript_writer(caller, session_id, self._transcripts, fresh, *asked) as told:
            async for piece in in_turns(told.pieces(), self._turns):
                yield piece

    @asynccontextmanager
    async def _transcript_writer(
        self,
        caller: Caller,
        session_id: str,
        remembered: LogCache[CachedLog[T]],
        fresh: Callable[[], T],
        *asked: Hashable,
    ) -> AsyncGenerator[T, None]:
        """What the log tells of what is asked; within the block nobody else has it."""
        key = (caller.project, session_id, *asked)
        told, known, size = remembered.pop(key) or (fresh(), None, 0)
        try:
            prefix = await self._read_on(caller, session_id, told.reading, known, told.feed)
        except LogRewritten:
            told = fresh()
            prefix = await self._read_on(caller, session_id, told.reading, None, told.feed)
        try:
            yield told
        finally:
            if prefix and prefix.size >= LONG_LOG:
                remembered.put(key, CachedLog(told, prefix, size if prefix == known else told.size))

    async def _read_on(
        self,
        caller: Caller,
        session_id: str,
        reading: EventDecoder[E],
        known: LogPrefix | None,
        take: Callable[[EventBatch[E]], None],
    ) -> LogPrefix | None:
        """Take what is behind what is known, and say what is known then; `Rewritten` before anything is taken."""
        trail = PrefixHasher(known)
        await read(self._log(caller, session_id, reading, trail), self._turns, take)
        return trail.prefix

    async def _log(
        self, caller: Caller, session_id: str, reading: EventDecoder[E], trail: PrefixHasher | None = None
    ) -> Log[E]:
        splitter = ExportSplitter(reading, trail)
        async with aclosing(self._platform.export(caller, session_id)) as pieces:
            async for piece in pieces:
                yield _slices(splitter, piece)
        with translate_errors:
            rest = splitter.finish()
        yield [rest]


async def _text(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The pieces, which end with characters; BackendUnavailable instead of one that is not UTF-8."""
    async with aclosing(pieces):
        async for piece in pieces:
            with translate_errors:
                require_utf8(piece)
            yield piece


def _slices(splitter: ExportSplitter[E], piece: bytes) -> Iterator[EventBatch[E]]:
    with translate_errors:
        yield from splitter.feed(piece)
