"""A session's whole log, or one run's, read slice by slice up to where it ended when the reading began."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.compaction import DeltaMerger, compact
from app.agui.events import E, Event, EventBatch, EventDecoder, decode_one
from app.agui.page import STREAM_PAGE, cut, stream_events
from app.agui.renderers import EventLogWriter, RunFilter, TranscriptWriter
from app.errors import CursorAhead, RunNotFound, SessionNotFound
from app.fair_turns import Batches, Turns
from app.models.output import EventFormat, EventLog, LogPage, OutputFormat
from app.models.sessions import SessionStatus
from app.results import StreamedBody, StreamEvent
from app.store import events
from app.store.database import Database
from app.store.events import RunRange
from app.store.sessions import SessionRow

SLICE = 1 << 17  # bytes that are read and decoded at once; a look into the store has its price


class StoredLog:
    """Logs of the store; `SessionNotFound` once the session is deleted, `RunNotFound`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = Turns()

    def transcript(self, session: SessionRow, run_id: str | None) -> StreamedBody:
        """The conversation as a `Transcript`."""
        return StreamedBody(self._told(session, run_id))

    def written(self, session: SessionRow, format: EventFormat, run_id: str | None) -> StreamedBody:
        """The events as an `EventLog`."""
        written = EventLogWriter(session.id, format, RunFilter())
        return StreamedBody(self._turns.write(self._log(session.row_id, run_id, written.reading), written))

    async def _told(self, session: SessionRow, run_id: str | None) -> AsyncGenerator[bytes, None]:
        told = TranscriptWriter(session.id, RunFilter(), session_running=session.status is SessionStatus.RUNNING)
        await self._turns.read(self._log(session.row_id, run_id, told.reading), told.feed)
        async for piece in self._turns.each(told.pieces()):
            yield piece

    async def _log(self, session: int, run_id: str | None, reading: EventDecoder[E]) -> Batches[E]:
        end, run = await self._database.read(check_position, session, 0, run_id)
        end, after = run.last if run else end, 0
        while after < end:
            async with self._turns:
                after, array = await self._database.read_one(_slice, session, after, end, run)
            yield [EventBatch(array, reading)]


def _slice(connection: Connection, session: int, after: int, end: int, run: RunRange | None) -> tuple[int, bytes]:
    """The position of the last entry and a JSON array of those behind `after`, of about SLICE bytes."""
    found: list[bytes] = []
    size = 0
    for position, event in events.events_after(connection, session, after, run):
        if position > end:
            break
        found.append(event)
        size += len(event)
        after = position
        if size >= SLICE:
            break
    if not found:
        raise SessionNotFound
    return after, b"[%b]" % b",".join(found)


def read_page(
    connection: Connection, session: SessionRow, format: EventFormat, run_id: str | None, page: LogPage
) -> EventLog:
    """A page of the session's log, or of one run's; `SessionNotFound`, `RunNotFound`, `CursorAhead`."""
    end, run = check_position(connection, session.row_id, page.after, run_id)
    rows = events.events_after(connection, session.row_id, page.after, run)
    if format is OutputFormat.COMPACT:
        log = compact(event for at, raw in rows if (event := decode_one(raw, at)))
    else:
        log = (Event(stored=msgspec.Raw(raw), position=at) for at, raw in rows)
    found = list(cut(log, page))
    more = bool(found) and found[-1].position < (run.last if run else end)
    return EventLog(
        session_id=session.id,
        format=format,
        events=[event.raw for event in found],
        next_after=found[-1].position if more else None,
    )


def check_position(connection: Connection, session: int, after: int, run_id: str | None) -> tuple[int, RunRange | None]:
    """The end of the session's log and where the run stands in it; the errors of `page`."""
    end = events.last_position(connection, session)
    if end is None:
        raise SessionNotFound
    run = events.run_range(connection, session, run_id) if run_id else None
    if run_id and run is None:
        raise RunNotFound
    if after > end:
        raise CursorAhead
    return end, run


class _Page(msgspec.Struct, frozen=True):
    """What is behind a position: events, whether that is all for now, and whether that is all for ever."""

    events: list[Event]
    all: bool
    over: bool


async def follow(
    database: Database, session: int, after: int, run_id: str | None, *, compacted: bool
) -> AsyncGenerator[list[StreamEvent], None]:
    """Pages of the session's log behind `after`, or of one run's until its end; ends once the session is deleted."""
    joiner = DeltaMerger()

    def read() -> Coroutine[Any, Any, _Page]:
        return database.read(_read_after, session, after, run_id)

    with database.notifier.subscribe(session) as rung:
        news = _Page([], all=False, over=False)
        while not news.over:
            if news.all:
                await rung.wait()
            rung.clear()
            news = await database.notifier.read_shared(session, (after, run_id), read)
            after = news.events[-1].position if news.events else after
            found = joiner.feed(_decode(news.events)) if compacted else news.events
            yield stream_events(found)
    yield stream_events(joiner.finish())


def _read_after(connection: Connection, session: int, after: int, run_id: str | None) -> _Page:
    end = events.last_position(connection, session)
    if end is None:
        return _Page([], all=True, over=True)
    run = events.run_range(connection, session, run_id) if run_id else None
    rows = events.events_after(connection, session, after, run)
    log = (Event(stored=msgspec.Raw(raw), position=at) for at, raw in rows)
    found = list(cut(log, STREAM_PAGE))
    reached = (found[-1].position if found else after) >= (run.last if run else end)
    return _Page(found, all=reached, over=reached and run is not None and run.status.is_final)


def _decode(log: list[Event]) -> list[Event]:
    return [event for one in log if (event := decode_one(one.raw, one.position))]
