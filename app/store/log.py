"""Reads of a session's log, or of one run's: a page, or the whole log as one document.

A log may be too long to be held in memory. A page is read in a single transaction, and costs what the page costs
wherever in the log it is. A document is read slice by slice up to where the log ended when the reading began; each
slice is one short read and one short turn on the event loop.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from app.agui.compaction import compact
from app.agui.events import E, Event, EventBatch, EventDecoder, decode_one
from app.agui.page import first_page, to_cursor, to_position
from app.agui.renderers import EventLogWriter, TranscriptWriter
from app.agui.run_filter import RunFilter
from app.errors import CursorExpired, RunNotFound, SessionNotFound
from app.fair_turns import Batches, Turns
from app.models.output import EventFormat, EventLog, LogPage, OutputFormat
from app.models.sessions import SessionStatus
from app.results import StreamedBody
from app.store import events
from app.store.database import Database
from app.store.events import RunRange
from app.store.sessions import SessionRow

SLICE_BYTES = 1 << 17
"""Bytes of events that are read and decoded at once: enough that the cost of a query does not matter."""


class Location(NamedTuple):
    """The part of a log that is read: after one position to another one, and only one run's if there is a run."""

    after: int
    last: int
    run: RunRange | None


def locate(connection: Connection, session: int, run_id: str | None, after: str | None = None) -> Location:
    """Return where the log, or that of one run, is read. `SessionNotFound`, `RunNotFound`, `CursorExpired`."""
    run = events.run_range(connection, session, run_id) if run_id else None
    last = events.last_position(connection, session)  # after the run, which may be missing as the session is gone
    if last is None:
        raise SessionNotFound
    if run_id and run is None:
        raise RunNotFound
    position = to_position(after)
    if position > last:
        raise CursorExpired
    return Location(position, run.last if run else last, run)


def read_page(
    connection: Connection, session: SessionRow, format: EventFormat, run_id: str | None, page: LogPage
) -> EventLog:
    """Return a page of the log; the errors of `locate`."""
    after, last, run = locate(connection, session.row_id, run_id, page.after)
    rows = events.events_after(connection, session.row_id, after, run)
    if format is OutputFormat.COMPACT:
        log = compact(event for position, raw in rows if (event := decode_one(raw, position)))
    else:
        log = (Event(source=msgspec.Raw(raw), position=position) for position, raw in rows)
    found = list(first_page(log, page))
    has_more = bool(found) and found[-1].position < last
    return EventLog(
        session_id=session.id,
        format=format,
        events=[event.raw for event in found],
        next_after=to_cursor(found[-1].position) if has_more else None,
    )


class StoredLog:
    """Whole logs as documents, which are sent while they are read; the errors of `locate`.

    A document whose session is deleted meanwhile ends with `SessionNotFound`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = Turns()

    def transcript(self, session: SessionRow, run_id: str | None) -> StreamedBody:
        """Return the conversation as a `Transcript`."""
        return StreamedBody(self._transcript(session, run_id))

    def events(self, session: SessionRow, format: EventFormat, run_id: str | None) -> StreamedBody:
        """Return the events as an `EventLog`."""
        writer = EventLogWriter(session.id, format, RunFilter())
        return StreamedBody(self._turns.write(self._batches(session.row_id, run_id, writer.decoder), writer))

    async def _transcript(self, session: SessionRow, run_id: str | None) -> AsyncGenerator[bytes, None]:
        writer = TranscriptWriter(session.id, RunFilter(), session_running=session.status is SessionStatus.RUNNING)
        await self._turns.read(self._batches(session.row_id, run_id, writer.decoder), writer.feed)
        async for piece in self._turns.each(writer.pieces()):
            yield piece

    async def _batches(self, session: int, run_id: str | None, decoder: EventDecoder[E]) -> Batches[E]:
        after, last, run = await self._database.read(locate, session, run_id)
        while after < last:
            async with self._turns:
                after, array = await self._database.read_one(_read_slice, session, after, last, run)
            yield [EventBatch(array, decoder)]


def _read_slice(connection: Connection, session: int, after: int, last: int, run: RunRange | None) -> tuple[int, bytes]:
    """Return the last position of a slice after a position, and its events as a JSON array."""
    if events.last_position(connection, session) is None:  # the log of a deleted session goes later
        raise SessionNotFound
    found: list[bytes] = []
    size = 0
    for position, event in events.events_after(connection, session, after, run):
        if position > last:
            break
        found.append(event)
        size += len(event)
        after = position
        if size >= SLICE_BYTES:
            break
    if not found:
        raise SessionNotFound
    return after, b"[%b]" % b",".join(found)
