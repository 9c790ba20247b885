"""The SQLite database: what is committed together, what fails alone, and which errors callers get."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from app.errors import InternalError, NotFound, StorageFull, StorageUnavailable
from app.models.approvals import ApprovalRequest
from app.models.sessions import SessionCreate
from app.store import agent_state, approvals, deletions, events, initial_files, runs, sessions
from app.store.migrate import migrate
from app.store.sqlite.database import SqliteDatabase
from app.store.sqlite.engine import writing_engine
from app.store.tables import AGENT_STATES, APPROVALS, EVENTS, INITIAL_FILES, LABELS, RUNS, SESSIONS

Commits = list[tuple[str, str]]


@pytest.fixture
def commits() -> Commits:
    return []


@pytest.fixture
async def database(tmp_path: Path, commits: Commits) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(
        tmp_path / "store.db", lambda operation, _seconds, outcome: commits.append((operation, outcome))
    )
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")))
    commits.clear()
    yield database
    await database.close()


def put(number: int) -> Callable[[Connection], int]:
    def function(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        return number

    return function


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


def on_disk(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        rows = [number for (number,) in connection.execute("SELECT n FROM t ORDER BY n")]
    connection.close()
    return rows


async def test_writes_share_a_commit_when_they_wait_together(database: SqliteDatabase, commits: Commits) -> None:
    assert await asyncio.gather(*(database.write(put(n)) for n in range(50))) == list(range(50))
    assert await database.read(numbers) == list(range(50))
    assert len(commits) < 25


async def test_a_write_is_on_disk_when_it_returns(database: SqliteDatabase, tmp_path: Path) -> None:
    for number in range(5):
        await database.write(put(number))
        assert on_disk(tmp_path / "store.db") == list(range(number + 1))


async def test_only_its_own_changes_are_undone_when_a_function_fails(database: SqliteDatabase) -> None:
    def fail(connection: Connection) -> None:
        put(999)(connection)
        raise NotFound

    writes = [database.write(put(n)) for n in range(25)] + [database.write(put(n)) for n in range(25, 50)]
    results = await asyncio.gather(*writes[:25], database.write(fail), *writes[25:], return_exceptions=True)
    assert isinstance(results[25], NotFound)
    assert await database.read(numbers) == list(range(50))


async def test_only_the_write_that_prevents_the_commit_of_its_group_fails(
    database: SqliteDatabase, commits: Commits
) -> None:
    def defer(connection: Connection) -> None:
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        connection.execute(text("INSERT INTO labels VALUES (1, 'a', 'b')"))

    entered, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_connection: Connection) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

    held = asyncio.create_task(database.write(hold))
    await entered.wait()
    group = [asyncio.create_task(database.write(function)) for function in (put(1), defer, put(2))]
    await asyncio.sleep(0)
    go_on.set()
    await held
    results = await asyncio.gather(*group, return_exceptions=True)
    assert isinstance(results[1], InternalError)
    assert await database.read(numbers) == [1, 2]
    assert [results[0], results[2]] == [1, 2]
    assert [outcome for _, outcome in commits] == ["ok", "error", "ok", "error", "ok"]


async def test_the_group_fails_with_storage_full_when_the_file_can_grow_no_more(database: SqliteDatabase) -> None:
    await database.write(lambda connection: connection.execute(text("CREATE TABLE big (b BLOB)")))

    def limit(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 2}"))

    await database.write(limit)
    with pytest.raises(StorageFull) as refusal:
        await database.write(lambda connection: connection.execute(text("INSERT INTO big VALUES (zeroblob(1000000))")))
    assert isinstance(refusal.value.__cause__, Exception)
    await database.write(put(1))
    assert await database.read(numbers) == [1]


async def test_a_write_fails_as_unavailable_when_another_process_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.sqlite.engine.BUSY_TIMEOUT_MS", 10)
    database = SqliteDatabase(tmp_path / "store.db", lambda *_: None)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        await database.write(lambda _connection: None)
    retried = asyncio.create_task(database.write_until_stored(lambda _connection: "written"))
    assert await database.read(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1
    other.execute("ROLLBACK")
    assert await retried == "written"
    other.close()
    await database.close()


async def test_readers_see_the_last_commit_when_a_write_is_under_way(database: SqliteDatabase) -> None:
    await database.write(put(1))
    loop = asyncio.get_running_loop()
    entered, go_on = asyncio.Event(), asyncio.Event()

    def slow(connection: Connection) -> None:
        put(2)(connection)
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

    writing = asyncio.create_task(database.write(slow))
    await entered.wait()
    assert await database.read(numbers) == await database.read_in_thread(numbers) == [1]
    go_on.set()
    await writing
    assert await database.read(numbers) == await database.read_in_thread(numbers) == [1, 2]


async def test_a_read_that_changes_something_is_refused(database: SqliteDatabase) -> None:
    with pytest.raises(StorageUnavailable):
        await database.read(put(1))
    with pytest.raises(StorageUnavailable):
        await database.read_in_thread(put(1))
    assert await database.read(numbers) == []


async def test_submitted_writes_are_committed_when_the_database_is_closed(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "store.db", lambda *_: None)
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")))
    writes = [asyncio.create_task(database.write(put(n))) for n in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == list(range(20))
    assert on_disk(tmp_path / "store.db") == list(range(20))
    with pytest.raises(StorageUnavailable):
        await database.write(put(99))
    files = await asyncio.to_thread(lambda: {path.name for path in tmp_path.iterdir()})
    assert files == {"store.db", "store.db.lock"}


async def test_a_function_still_runs_when_its_caller_is_cancelled(database: SqliteDatabase) -> None:
    writing = asyncio.create_task(database.write(put(1)))
    await asyncio.sleep(0)
    writing.cancel()
    await database.write(put(2))
    assert await database.read(numbers) == [1, 2]


def test_deleting_a_session_deletes_all_that_belongs_to_it(tmp_path: Path) -> None:
    engine = writing_engine(tmp_path / "store.db")
    migrate(engine)
    with engine.begin() as connection:
        session = sessions.add(
            connection, session_id="s", project="p", request=SessionCreate(task="t", labels={"a": "b"}), created_at=1
        )
        initial_files.add(connection, session.row_id, {"notes.txt": b"x"})
        runs.add(connection, session=session.row_id, run_id="r", thread_id="s", input={}, user_message=None)
        [run] = runs.queued(connection, session.row_id)
        events.append(connection, session.row_id, run.row_id, [b"{}"])
        agent_state.save(connection, session.row_id, "s", "state")
        approvals.add(
            connection,
            approval_id="a",
            session=session.row_id,
            run=run.row_id,
            request=ApprovalRequest(),
            interrupt_id=None,
            created_at=1,
            expires_at=None,
        )
        sessions.remove(connection, session.row_id)
        assert not deletions.remove_slice(connection, EVENTS, session.row_id, 1000)
        for table in (SESSIONS, LABELS, INITIAL_FILES, RUNS, EVENTS, APPROVALS, AGENT_STATES):
            assert connection.execute(select(table)).all() == []
    engine.dispose()


def test_a_commit_is_on_disk_and_what_refers_to_a_row_exists(tmp_path: Path) -> None:
    engine = writing_engine(tmp_path / "store.db")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


async def test_nobody_else_can_read_the_store(tmp_path: Path) -> None:
    path = tmp_path / "data" / "store.db"
    for _ in range(2):
        database = SqliteDatabase(path, lambda *_report: None)
        await database.write(lambda connection: connection.execute(text("CREATE TABLE IF NOT EXISTS t (n INTEGER)")))
        files = [path.parent, path, *path.parent.glob("store.db-*"), path.with_name("store.db.lock")]
        assert len(files) == 5
        assert {file.stat().st_mode & 0o077 for file in files} == {0}
        await database.close()
        path.chmod(0o644)  # as earlier versions made it


async def test_an_error_shows_no_parameter(database: SqliteDatabase) -> None:
    statement = text("INSERT INTO no_such_table VALUES (:secret)")
    with pytest.raises(InternalError) as caught:
        await database.write(lambda connection: connection.execute(statement, {"secret": "s3cret"}))
    cause = str(caught.value.__cause__)
    assert "no_such_table" in cause
    assert "s3cret" not in cause


async def test_the_journal_shrinks_after_a_write_that_has_made_it_large(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    journal = tmp_path / "store.db-wal"

    def fill(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE big (b BLOB)"))
        connection.execute(text("INSERT INTO big VALUES (zeroblob(30000000))"))

    await database.write(fill)
    assert journal.stat().st_size > 30_000_000
    for number in range(3):  # a commit copies the journal into the file, a later one begins it anew
        await database.write(put(number))
    assert journal.stat().st_size <= 8 << 20
