"""The cost of a page of a log on the embedded backend."""

import sqlite3
from pathlib import Path

import pytest

from app.models.output import EventFormat, LogPage, OutputFormat
from app.models.sessions import SessionCreate
from app.store import events, log, sessions
from app.store.migrate import migrate
from app.store.sqlite.engine import writing_engine
from tests.support.scripted import event


def steps(file: Path, length: int, format: EventFormat) -> int:
    """How many steps of SQLite's machine a page in the middle of a log takes."""
    engine = writing_engine(file)
    migrate(engine)
    with engine.begin() as connection:
        session = sessions.add(
            connection, session_id=f"s-{length}", project="p", request=SessionCreate(task="t"), created_at=1
        )
        events.append(connection, session.row_id, 1, [event("CUSTOM", value=n) for n in range(length)])
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(step, 1)
        found = log.read_page(connection, session, format, None, LogPage(after=str(length // 2), limit=20))
        raw.set_progress_handler(None, 1)
        assert len(found.events) == 20
        assert found.next_after == str(length // 2 + 20)
    engine.dispose()
    return count


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
def test_a_page_of_a_long_log_costs_what_one_of_a_short_log_does(tmp_path: Path, format: EventFormat) -> None:
    short, long = (steps(tmp_path / "store.db", length, format) for length in (100, 20_000))
    assert 0 < long <= short + 10
