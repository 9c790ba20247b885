"""Stores of the embedded backend with long logs, written before a server starts."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection

from app.models.runs import RunStatus
from app.models.sessions import SessionCreate, SessionStatus
from app.store import events, runs, sessions
from app.store.migrate import migrate
from app.store.sqlite.engine import writing_engine
from tests.bench.exports import FIRST_TIMESTAMP, Written

BATCH = 10_000  # events per transaction
PROJECT = "demo"


def fill(directory: Path, logs: Mapping[str, Iterable[Written]]) -> None:
    """Create the store of a server's directory with an idle, running session for each log."""
    file = directory / "data" / "ambient.db"
    file.parent.mkdir()
    engine = writing_engine(file)
    migrate(engine)
    for name, log in logs.items():
        with engine.begin() as connection:
            request = SessionCreate(task="t")
            session = sessions.add(
                connection, session_id=name, project=PROJECT, request=request, created_at=FIRST_TIMESTAMP
            )
            sessions.set_status(connection, session.row_id, SessionStatus.RUNNING)
        for run_id, written in groupby(log, lambda each: each.run_id):
            with engine.begin() as connection:
                run = _begin_run(connection, session.row_id, run_id)
            for batch in _batches(each.event for each in written):
                with engine.begin() as connection:
                    events.append(connection, session.row_id, run, batch)
            with engine.begin() as connection:
                ended_at = FIRST_TIMESTAMP + 1
                runs.finish(
                    connection,
                    run,
                    session.row_id,
                    RunStatus.COMPLETED,
                    finished_at=ended_at,
                    error=None,
                    usage=None,
                    answer=None,
                )
    engine.dispose()


def _begin_run(connection: Connection, session: int, run_id: str) -> int:
    runs.add(connection, session=session, run_id=run_id, thread_id="t", input={"messages": []}, user_message="t")
    run = runs.find(connection, session, run_id)
    assert run
    runs.begin(connection, run.row_id, FIRST_TIMESTAMP)
    return run.row_id


def _batches(written: Iterator[bytes]) -> Iterator[list[bytes]]:
    for _, batch in groupby(enumerate(written), lambda numbered: numbered[0] // BATCH):
        yield [event for _, event in batch]
