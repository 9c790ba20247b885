"""Following a log: page after page by position, then whatever the next commits add."""

from collections.abc import AsyncGenerator
from functools import partial

import msgspec
from sqlalchemy import Connection

from app.agui.compact import Joiner
from app.agui.decode import Event, decode_one
from app.agui.page import cut
from app.answers import Frame
from app.backends.embedded import events
from app.backends.embedded.database import Database
from app.types import Page

PAGE_EVENTS = 256
PAGE_BYTES = 1 << 18


class _News(msgspec.Struct, frozen=True):
    """What is behind a position: events, whether that is all for now, and whether that is all for ever."""

    events: list[Event]
    all: bool
    over: bool


async def follow(
    database: Database, session: int, after: int, run_id: str | None, *, compacted: bool
) -> AsyncGenerator[list[Frame], None]:
    """Pages of the session's log behind `after`, or of one run's until its end; ends once the session is deleted."""
    joiner = Joiner()
    with database.bell.watch(session) as rung:
        news = _News([], all=False, over=False)
        while not news.over:
            if news.all:
                await rung.wait()
            rung.clear()
            read = partial(database.read, partial(_behind, session=session, after=after, run_id=run_id))
            news = database.bell.once(session, (after, run_id), read)
            after = news.events[-1].position if news.events else after
            found = joiner.take(_decoded(news.events)) if compacted else news.events
            yield _frames(found)
    yield _frames(joiner.rest())


def _behind(connection: Connection, session: int, after: int, run_id: str | None) -> _News:
    end = events.last_position(connection, session)
    if end is None:
        return _News([], all=True, over=True)
    run = events.stretch(connection, session, run_id) if run_id else None
    rows = events.behind(connection, session, after, run)
    log = (Event(stored=msgspec.Raw(raw), position=at) for at, raw in rows)
    found = list(cut(log, Page(limit=PAGE_EVENTS, max_bytes=PAGE_BYTES)))
    reached = (found[-1].position if found else after) >= (run.last if run else end)
    return _News(found, all=reached, over=reached and run is not None and run.status.is_final)


def _decoded(log: list[Event]) -> list[Event]:
    return [event for one in log if (event := decode_one(one.raw, one.position))]


def _frames(found: list[Event]) -> list[Frame]:
    return [Frame(event.raw, event.position) for event in found]
