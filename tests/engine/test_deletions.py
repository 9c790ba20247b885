"""The log of a deleted session: removed later, slice by slice, whatever happens meanwhile."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from app.engine.cluster import remote
from app.store import events, sessions
from app.store.commands import sessions as commands
from app.store.database import Database
from app.store.tables import DELETIONS, EVENTS
from tests.support.scripted import CALLER, Harness, open_backend, until


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PURGED_ROWS", 10)
    monkeypatch.setattr(remote, "PURGE_SECONDS", 0.01)


async def long_log(harness: Harness) -> int:
    """Return the row id of a new session whose log has 1,000 events more."""
    session_id = await harness.running()
    database: Database = harness.backend._database
    row = await database.read(sessions.find, "demo", session_id)
    await database.write(events.append, row.row_id, 1, [b'{"type":"CUSTOM"}'] * 1000)
    await harness.backend.sessions.delete_session(CALLER, session_id)
    return row.row_id


def counts(connection: Connection, row_id: int) -> tuple[Any, Any]:
    """Return how many events of a session there are, and how many deletions."""
    logged = select(func.count()).select_from(EVENTS).where(EVENTS.c.session == row_id)
    return connection.execute(logged).scalar(), connection.execute(select(func.count()).select_from(DELETIONS)).scalar()


async def test_it_goes_slice_by_slice_while_others_write(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        row_id = await long_log(harness)
        left, _ = await harness.backend._database.read(counts, row_id)
        assert left > 0, "the deletion is answered before the log is gone"
        await harness.running("another task")

        async def is_gone() -> bool:
            return await harness.backend._database.read(counts, row_id) == (0, 0)

        await until(is_gone)


async def test_it_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        row_id = await long_log(harness)
    async with open_backend(tmp_path) as harness:

        async def is_gone() -> bool:
            return await harness.backend._database.read(counts, row_id) == (0, 0)

        await until(is_gone)


async def test_a_slice_of_another_session_stays(tmp_path: Path) -> None:
    async with open_backend(tmp_path) as harness:
        kept = await harness.running()
        before = await harness.log(kept)
        row_id = await long_log(harness)

        async def is_gone() -> bool:
            return await harness.backend._database.read(counts, row_id) == (0, 0)

        await until(is_gone)
        assert await harness.log(kept) == before
