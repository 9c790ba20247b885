"""Streams of a session's log, or of one run's, that go on with what is appended."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.compaction import DeltaMerger
from app.agui.events import Event, decode_one
from app.agui.page import STREAM_PAGE, first_page, stream_events
from app.results import EventStream, StreamEvent
from app.store import events
from app.store.database import Database
from app.store.log import locate


class _Step(msgspec.Struct, frozen=True):
    """The next events of a stream, whether they reach the log's present end, and whether nothing can follow them."""

    events: list[Event]
    reaches_end: bool
    is_last: bool


async def follow(
    database: Database, session: int, after: str | None, run_id: str | None, *, compacted: bool
) -> EventStream:
    """Return the events after a cursor as a stream, which ends with its run and once its session is deleted.

    `SessionNotFound`, `RunNotFound`, `CursorExpired`.
    """
    start = await database.read(locate, session, run_id, after)
    return EventStream(_pages(database, session, start.after, run_id, compacted=compacted))


async def _pages(
    database: Database, session: int, after: int, run_id: str | None, *, compacted: bool
) -> AsyncGenerator[list[StreamEvent], None]:
    merger = DeltaMerger()

    def read() -> Coroutine[Any, Any, _Step]:
        return database.read(_read_step, session, after, run_id)

    with database.notifier.subscribe(session) as changed:
        step = _Step([], reaches_end=False, is_last=False)
        while not step.is_last:
            if step.reaches_end:
                await changed.wait()
            changed.clear()
            step = await database.notifier.read_shared(session, (after, run_id), read)
            after = step.events[-1].position if step.events else after
            yield stream_events(merger.feed(_decode(step.events)) if compacted else step.events)
    yield stream_events(merger.finish())


def _read_step(connection: Connection, session: int, after: int, run_id: str | None) -> _Step:
    last = events.last_position(connection, session)
    if last is None:
        return _Step([], reaches_end=True, is_last=True)
    run = events.run_range(connection, session, run_id) if run_id else None
    rows = events.events_after(connection, session, after, run)
    log = (Event(source=msgspec.Raw(raw), position=position) for position, raw in rows)
    found = list(first_page(log, STREAM_PAGE))
    reaches_end = (found[-1].position if found else after) >= (run.last if run else last)
    return _Step(found, reaches_end, is_last=reaches_end and run is not None and run.status.has_ended)


def _decode(log: list[Event]) -> list[Event]:
    return [event for one in log if (event := decode_one(one.raw, one.position))]
