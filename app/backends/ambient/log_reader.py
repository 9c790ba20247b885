"""The logs of the platform's sessions, read from its exports batch by batch."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import NamedTuple, TypeVar

import msgspec

from app.agui.events import EVENTS, OPAQUE, E, Event, EventBatch, EventDecoder, OpaqueEvent, decode
from app.agui.export_splitter import ExportSplitter
from app.agui.lenient import require_utf8
from app.agui.prefix import LogPrefix, LogRewritten, PrefixHasher
from app.agui.questions import Question
from app.agui.renderers import EventLogWriter, RunSummarizer, TranscriptWriter
from app.agui.run_filter import RunFilter, normalize_run_id
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.cursors import Cursor
from app.backends.ambient.errors import MAX_CHARACTERS, safe_beginning, translate_errors
from app.backends.ambient.log_cache import Checkpoints, LogCache
from app.backends.ambient.mapping import thread_id
from app.backends.ambient.page_reader import PageReader
from app.backends.ambient.pending_runs import lost_before
from app.backends.ambient.session_state import SessionState
from app.errors import BackendUnavailable
from app.fair_turns import Batches, Turns
from app.models.caller import Caller
from app.models.output import EventFormat, EventLog, LogPage
from app.models.runs import RunStatus, RunSummary
from app.results import StreamedBody

V = TypeVar("V", RunSummarizer, TranscriptWriter)

MAX_LOG_BYTES = 1 << 30
"""Longest log that is read for anything but its events, which are passed on while they arrive."""


class LogUpdate(NamedTuple):
    """Entries of a log, byte for byte, and the prefix that ends with them.

    `appended` says whether they follow the prefix that the caller knew; if not, they are the whole log.
    """

    entries: list[msgspec.Raw]
    prefix: LogPrefix | None
    appended: bool


class LogSnapshot(msgspec.Struct, frozen=True):
    """A whole log as one reading found it, and the session's state then.

    By `prefix` the next reading recognizes the log; a short log has none.
    """

    state: SessionState = SessionState()
    prefix: LogPrefix | None = None
    events: Sequence[Event] = ()


class LogReader:
    """Reader of session logs. Callers must read the session itself first, since exports know no project.

    `BackendUnavailable` if an export is not a JSON object, if a part of it that is read or sent is not UTF-8, or if it
    is longer than `MAX_LOG_BYTES` and more than its events are wanted.
    `aguiEvents` that are null, missing or not a list count as none. With a `run_id` only events of that run count:
    `RunNotFound` if there are none, unless the run is `accepted`.
    """

    def __init__(self, platform: PlatformApi, cache: LogCache) -> None:
        self._platform = platform
        self._cache = cache
        self._turns = Turns()

    async def runs(self, caller: Caller, session_id: str, state: SessionState) -> list[RunSummary]:
        """Return the runs in the order of their start, with error texts that a client may read."""
        async with self._view("runs", caller, session_id, RunSummarizer) as summarizer:
            summaries = summarizer.summaries(
                session_running=state.alive, running_since=state.since, lost_before=lost_before()
            )
        for run in summaries:
            run.thread_id = thread_id(run.thread_id)
            if run.error is not None:
                run.error = safe_beginning(run.error, "Run failed")
            elif run.status is RunStatus.ERROR and run.answer:
                run.error = run.answer[:MAX_CHARACTERS]  # the platform has the reason only as the agent's message
        return summaries

    async def questions(self, caller: Caller, session_id: str) -> list[Question]:
        """Return the questions with which runs have ended."""
        async with self._view("runs", caller, session_id, RunSummarizer) as summarizer:
            return summarizer.questions()

    async def has_run(self, caller: Caller, session_id: str, run_id: str) -> bool:
        """Return whether the log has an event of the run."""
        async with self._view("runs", caller, session_id, RunSummarizer) as summarizer:
            return summarizer.has(run_id)

    def transcript(self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool) -> StreamedBody:
        """Return the conversation as a `Transcript`."""
        return StreamedBody(_checked(self._transcript(caller, session_id, run_id, accepted=accepted)))

    def events(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, *, accepted: bool
    ) -> StreamedBody:
        """Return the events as an `EventLog`."""
        writer = EventLogWriter(session_id, format, RunFilter(run_id, accepted=accepted))
        batches = self._batches(caller, session_id, writer.decoder, is_whole=False)
        return StreamedBody(_checked(self._turns.write(batches, writer)))

    async def page(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, page: LogPage, *, accepted: bool
    ) -> EventLog:
        """Return a page of the events; `CursorExpired`."""

        cursor = Cursor.parse(page.after)

        async def build(checkpoints: Checkpoints) -> PageReader:
            reader = PageReader(page, cursor, run_id, checkpoints, accepted=accepted, format=format)
            await self._turns.read(self._batches(caller, session_id, EVENTS, reader.hasher), reader.feed)
            reader.finish()
            return reader

        with self._cache.checkpoints(_key("page", caller, session_id, run_id, accepted=accepted)) as checkpoints:
            try:
                reader = await build(checkpoints)
            except LogRewritten:
                checkpoints.clear()
                reader = await build(checkpoints)
        found, next_after = reader.page()
        with translate_errors:
            for raw in found:
                require_utf8(raw)
        return EventLog(session_id=session_id, format=format, events=found, next_after=next_after)

    async def update(self, caller: Caller, session_id: str, known: LogPrefix | None) -> LogUpdate:
        """Return the entries after the `known` prefix, or all of them if the log does not begin with it."""
        found: list[msgspec.Raw] = []

        def feed(batch: EventBatch[OpaqueEvent]) -> None:
            with translate_errors:
                require_utf8(batch.array)
            found.extend(batch.raws())

        async def read_after(prefix: LogPrefix | None) -> LogPrefix | None:
            hasher = PrefixHasher(prefix)
            await self._turns.read(self._batches(caller, session_id, OPAQUE, hasher), feed)
            return hasher.prefix

        if known:
            with suppress(LogRewritten):
                return LogUpdate(found, await read_after(known), appended=True)
        return LogUpdate(found, await read_after(None), appended=False)

    async def _transcript(
        self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool
    ) -> AsyncGenerator[bytes, None]:
        def make() -> TranscriptWriter:
            return TranscriptWriter(session_id, RunFilter(run_id, accepted=accepted), session_running=True)

        async with self._view("transcript", caller, session_id, make, run_id, accepted=accepted) as writer:
            async for piece in self._turns.each(writer.pieces()):
                yield piece

    def _view(
        self,
        kind: str,
        caller: Caller,
        session_id: str,
        make: Callable[[], V],
        run_id: str | None = None,
        *,
        accepted: bool = False,
    ) -> AbstractAsyncContextManager[V]:
        async def feed_log(view: V, hasher: PrefixHasher) -> None:
            await self._turns.read(self._batches(caller, session_id, view.decoder, hasher), view.feed)

        return self._cache.view(_key(kind, caller, session_id, run_id, accepted=accepted), make, feed_log)

    async def _batches(
        self,
        caller: Caller,
        session_id: str,
        decoder: EventDecoder[E],
        hasher: PrefixHasher | None = None,
        *,
        is_whole: bool = True,
    ) -> Batches[E]:
        splitter, size = ExportSplitter(decoder, hasher), 0
        async with aclosing(self._platform.export(caller, session_id)) as pieces:
            async for piece in pieces:
                size += len(piece)
                if is_whole and size > MAX_LOG_BYTES:
                    raise BackendUnavailable("The session's log is too long to be read as a whole.")
                yield _split(splitter, piece)
        with translate_errors:
            last = splitter.finish()
        yield [last]


async def read_log(logs: LogReader, caller: Caller, session_id: str, known: LogSnapshot) -> LogSnapshot:
    """Return the log as it is now; only what was appended to the `known` one is decoded."""
    update = await logs.update(caller, session_id, known.prefix)
    before = known.events if update.appended else ()
    new = await asyncio.to_thread(lambda: list(decode(update.entries, first=len(before) + 1)))
    return LogSnapshot(prefix=update.prefix, events=[*before, *new] if new else before)


def _key(kind: str, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool) -> Hashable:
    return kind, caller.project, session_id, run_id and normalize_run_id(run_id), accepted


def _split(splitter: ExportSplitter[E], piece: bytes) -> Iterator[EventBatch[E]]:
    with translate_errors:
        yield from splitter.feed(piece)


async def _checked(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces, none of which ends within a character; `BackendUnavailable` at one that is not UTF-8."""
    async with aclosing(pieces):
        async for piece in pieces:
            with translate_errors:
                require_utf8(piece)
            yield piece
