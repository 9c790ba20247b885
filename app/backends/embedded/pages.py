"""One page of a log: only what the page holds is read, however long the log is."""

import msgspec
from sqlalchemy import Connection

from app.agui.compact import compact
from app.agui.decode import Event, decode_one
from app.agui.page import cut
from app.backends.embedded import events
from app.backends.embedded.events import Stretch
from app.backends.embedded.sessions import SessionRow
from app.errors import CursorAhead, RunNotFound, SessionNotFound
from app.types import EventFormat, EventLog, OutputFormat, Page


def page(connection: Connection, session: SessionRow, format: EventFormat, run_id: str | None, page: Page) -> EventLog:
    """A page of the session's log, or of one run's; `SessionNotFound`, `RunNotFound`, `CursorAhead`."""
    end, run = position(connection, session.number, page.after, run_id)
    rows = events.behind(connection, session.number, page.after, run)
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


def position(connection: Connection, session: int, after: int, run_id: str | None) -> tuple[int, Stretch | None]:
    """The end of the session's log and where the run stands in it; the errors of `page`."""
    end = events.last_position(connection, session)
    if end is None:
        raise SessionNotFound
    run = events.stretch(connection, session, run_id) if run_id else None
    if run_id and run is None:
        raise RunNotFound
    if after > end:
        raise CursorAhead
    return end, run
