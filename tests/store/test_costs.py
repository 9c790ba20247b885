"""The cost of reading on the embedded backend, in steps of SQLite's machine: what is not read costs nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.models.output import EventFormat, LogPage, OutputFormat
from app.models.sessions import SessionCreate
from app.store import events, log, runs, sessions
from app.store.migrate import migrate
from app.store.sessions import SessionRow
from app.store.sqlite.engine import writing_engine
from tests.support.scripted import event


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = writing_engine(tmp_path / "store.db")
    migrate(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def steps(connection: Connection, read: Callable[[], object]) -> int:
    """Return how many steps a function takes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.set_progress_handler(step, 1)
    read()
    raw.set_progress_handler(None, 1)
    return count


def new_session(connection: Connection, session_id: str) -> SessionRow:
    return sessions.add(connection, session_id=session_id, project="p", request=SessionCreate(task="t"), created_at=1)


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
def test_a_page_of_a_long_log_costs_what_one_of_a_short_log_does(connection: Connection, format: EventFormat) -> None:
    def cost(length: int) -> int:
        session = new_session(connection, f"s-{length}")
        events.append(connection, session.row_id, 1, [event("CUSTOM", value=n) for n in range(length)])

        def read() -> None:
            found = log.read_page(connection, session, format, None, LogPage(after=str(length // 2), limit=20))
            assert len(found.events) == 20
            assert found.next_after == str(length // 2 + 20)

        return steps(connection, read)

    short, long = (cost(length) for length in (100, 20_000))
    assert 0 < long <= short + 10


@pytest.mark.parametrize("is_active", [False, True])
def test_a_session_with_a_long_queue_costs_what_one_with_a_short_queue_does(
    connection: Connection, is_active: bool
) -> None:
    def cost(length: int) -> int:
        session_id = f"s-{length}"
        session = new_session(connection, session_id)
        for number in range(length):
            run_id = f"r-{number}"
            runs.add(connection, session=session.row_id, run_id=run_id, thread_id="t", input={}, user_message=None)
        if is_active:
            runs.begin(connection, runs.queued(connection, session.row_id)[0].row_id, started_at=1)

        def read() -> None:
            found = sessions.find(connection, "p", session_id)
            assert found.has_unfinished_run
            assert found.active_run_id == ("r-0" if is_active else None)

        return steps(connection, read)

    short, long = (cost(length) for length in (2, 1000))
    assert 0 < long <= short + 10
