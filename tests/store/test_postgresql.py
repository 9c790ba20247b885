"""The PostgreSQL database: conflicts, lost connections and commits, and notifications of other processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Connection, text

from app.errors import InternalError, StorageFull, StorageUnavailable
from app.models.sessions import SessionCreate
from app.store import leases, sessions, workers
from app.store.leases import LeasedDatabase, LeaseLost, SessionGone
from app.store.liveness import connection_name
from app.store.notifier import ChangeNotifier, mark_changed
from app.store.postgres import changes
from app.store.postgres import database as driver_module
from app.store.postgres.changes import ChangeChannel, _payloads
from app.store.postgres.database import PostgresDatabase
from app.store.postgres.engine import connect_async
from tests.support.deadline import eventually
from tests.support.scripted import until
from tests.support.store import postgresql_only, postgresql_server, store_url

pytestmark = postgresql_only


@pytest.fixture
def url(tmp_path: Path) -> str:
    return store_url(tmp_path / "store.db")


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, lambda *_: None)
    await database.open()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (n BIGINT PRIMARY KEY, v TEXT)")))
    yield database
    await database.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[PostgresDatabase]:
    """The same database as another process opens it."""
    other = PostgresDatabase(url, lambda *_: None)
    await other.open()
    yield other
    await other.close()


def put(number: int) -> Callable[[Connection], int]:
    def function(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        return number

    return function


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


def end_connections(url: str, condition: str = "true") -> int:
    """End other connections to the database, as a failing network does; return how many."""
    query = (
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"  # noqa: S608 - our own condition
        f" WHERE datname = current_database() AND pid != pg_backend_pid() AND {condition}"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        [ended] = connection.execute(query).fetchone() or [0]
    return int(ended)


async def test_each_write_is_a_transaction_of_its_own(database: PostgresDatabase) -> None:
    def fail(connection: Connection) -> None:
        put(999)(connection)
        raise KeyError("x")

    writes = [database.write(put(n)) for n in range(50)]
    results = await asyncio.gather(*writes, database.write(fail), return_exceptions=True)
    assert results[:-1] == list(range(50))
    assert isinstance(results[-1], KeyError)
    for read in (database.read, database.read_one, database.read_in_thread):
        assert await read(numbers) == list(range(50))


async def test_a_read_that_changes_something_is_refused(database: PostgresDatabase) -> None:
    for read in (database.read, database.read_in_thread):
        with pytest.raises(StorageUnavailable):
            await read(put(1))
    assert await database.read(numbers) == []


async def test_a_read_sees_one_state(database: PostgresDatabase) -> None:
    loop = asyncio.get_running_loop()
    entered, go_on = asyncio.Event(), asyncio.Event()

    def look_twice(connection: Connection) -> tuple[list[int], list[int]]:
        first = numbers(connection)
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return first, numbers(connection)

    reading = asyncio.create_task(database.read(look_twice))
    await entered.wait()
    await database.write(put(1))
    go_on.set()
    assert await reading == ([], [])


async def test_functions_that_deadlock_run_again(database: PostgresDatabase) -> None:
    await database.write(lambda connection: connection.execute(text("INSERT INTO t VALUES (1, ''), (2, '')")))
    locked = asyncio.Barrier(2)
    loop = asyncio.get_running_loop()
    attempts: list[int] = []

    def change(first: int, second: int) -> Callable[[Connection], None]:
        def function(connection: Connection) -> None:
            update = text("UPDATE t SET v = v || 'x' WHERE n = :n")
            connection.execute(update, {"n": first})
            attempts.append(first)
            if len(attempts) <= 2:
                asyncio.run_coroutine_threadsafe(locked.wait(), loop).result()
            connection.execute(update, {"n": second})

        return function

    await asyncio.gather(database.write(change(1, 2)), database.write(change(2, 1)))
    assert len(attempts) == 3
    values = await database.read(lambda connection: connection.execute(text("SELECT v FROM t")).scalars().all())
    assert values == ["xx", "xx"]


@pytest.mark.parametrize("turns", range(12))
async def test_no_connection_stays_open_where_listening_is_cancelled(
    url: str, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    made: list[psycopg.AsyncConnection[Any]] = []
    connected = asyncio.Event()

    async def connect(url: str, purpose: str) -> psycopg.AsyncConnection[Any]:
        made.append(await connect_async(url, purpose))
        connected.set()
        return made[-1]

    monkeypatch.setattr(changes, "connect_async", connect)
    channel = ChangeChannel(url, ChangeNotifier())
    opening = asyncio.create_task(channel.open())
    await connected.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    await channel.close()
    assert [connection.closed for connection in made] == [True] * len(made)


async def test_lost_connections_are_replaced(database: PostgresDatabase, url: str) -> None:
    for number in range(3):
        await database.write(put(number))
        assert await database.read(numbers) == list(range(number + 1))
        end_connections(url)
    assert await database.read_one(numbers) == [0, 1, 2]


def terminate(connection: Connection, _url: str) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def fall_asleep(connection: Connection, url: str) -> None:
    """Do nothing within the transaction for longer than the server permits, as a process that is suspended."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
    with psycopg.connect(url, autocommit=True) as other:
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: other.execute(query, (pid,)).fetchone() is None)
    connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("lose", [terminate, fall_asleep])
@pytest.mark.parametrize("operation", ["read", "read_in_thread", "write"])
async def test_a_connection_that_is_lost_within_a_function_is_replaced(
    database: PostgresDatabase, url: str, lose: Callable[[Connection, str], None], operation: str
) -> None:
    attempts = []

    def lose_once(connection: Connection) -> str:
        attempts.append(connection)
        if len(attempts) == 1:
            mark_changed(connection, 7)
            lose(connection, url)
        return "done"

    run = getattr(database, operation)
    assert await run(lose_once) == "done"
    for _ in range(2 * driver_module.WRITER_THREADS):
        assert await run(numbers) == []


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_without_a_response_counts_once(
    database: PostgresDatabase, url: str, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    class Cut:
        """A connection that is cut at its first commit, before or after the server has it."""

        done = False

        def __init__(self, connection: "psycopg.Connection[Any]") -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, query: str, *args: Any, **kwargs: Any) -> Any:
            if query != "COMMIT" or Cut.done or self._connection.info.dbname != own:  # a server of other tests may run
                return self._connection.execute(query, *args, **kwargs)
            Cut.done = True
            if arrives:
                self._connection.execute(query)
            end_connections(url, f"pid = {self._connection.info.backend_pid}")
            return self._connection.execute("SELECT 1")

    own = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    calls = 0

    def count(connection: Connection) -> int:
        nonlocal calls
        calls += 1
        return put(7)(connection)

    plain = driver_module._driver
    monkeypatch.setattr(driver_module, "_driver", lambda connection: Cut(plain(connection)))
    assert await database.write(count) == 7
    monkeypatch.undo()
    assert Cut.done
    assert calls == (1 if arrives else 2)
    assert await database.read(numbers) == [7]


async def test_a_process_that_is_suspended_in_the_middle_of_a_request_loses_its_locks(
    database: PostgresDatabase, url: str
) -> None:
    await database.write(put(1))
    suspended = psycopg.connect(url, application_name=connection_name("host-1"))
    with contextlib.suppress(psycopg.Error), suspended, suspended.pipeline():
        suspended.execute("UPDATE t SET v = 'x' WHERE n = 1")
        suspended.pgconn.send_flush_request()
        suspended.pgconn.flush()
        await until(lambda: database.read(locks), lambda held: held == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(database.write(put_value), 1)
        await database.read(workers.end_connections, "host-1-abcdef")
        await asyncio.wait_for(database.write(put_value), 30)
    assert suspended.broken


def locks(connection: Connection) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock'"
    return int(connection.execute(text(query)).scalar_one())


def put_value(connection: Connection) -> None:
    connection.execute(text("UPDATE t SET v = 'y' WHERE n = 1"))


async def test_errors_become_those_of_the_store(database: PostgresDatabase) -> None:
    def fail(error: Exception) -> Callable[[Connection], None]:
        def function(_connection: Connection) -> None:
            raise error

        return function

    for error, kind in (
        (errors.DiskFull(), StorageFull),
        (errors.TooManyConnections(), StorageUnavailable),
        (errors.ReadOnlySqlTransaction(), StorageUnavailable),
        (errors.UndefinedTable(), InternalError),
    ):
        with pytest.raises(kind):
            await database.write(fail(error))
    statement = text("INSERT INTO no_such_table VALUES (:secret)")
    with pytest.raises(InternalError) as caught:
        await database.write(lambda connection: connection.execute(statement, {"secret": "s3cret"}))
    assert "s3cret" not in str(caught.value.__cause__)
    assert await database.write(put(1)) == 1


async def test_text_without_a_place_in_the_database_is_replaced(database: PostgresDatabase) -> None:
    row = {"n": 1, "v": "a\0b"}
    await database.write(lambda connection: connection.execute(text("INSERT INTO t VALUES (:n, :v)"), row))
    value = await database.read(lambda connection: connection.execute(text("SELECT v FROM t")).scalar_one())
    assert value == "a\N{REPLACEMENT CHARACTER}b"


async def test_a_change_is_announced_in_every_process(
    database: PostgresDatabase, other: PostgresDatabase, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FALLBACK_SECONDS", 3600)

    def change(connection: Connection) -> None:
        mark_changed(connection, 7)

    async def hears(database: PostgresDatabase) -> None:
        with database.notifier.subscribe(7) as here, other.notifier.subscribe(7) as there:
            await database.write(change)
            assert here.is_set()
            await asyncio.wait_for(there.wait(), 20)

    for _ in range(3):
        await hears(database)
    with other.notifier.subscribe(8) as unrelated:
        await hears(database)
        assert not unrelated.is_set()
        assert end_connections(url, "application_name = 'ambient-api listener'") == 2
        await asyncio.wait_for(unrelated.wait(), 20)  # whoever was not listening may have missed anything
    assert end_connections(url, "application_name = 'ambient-api notifier'") == 2
    await hears(database)


async def test_subscribers_are_notified_from_time_to_time_in_any_case(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(changes, "FALLBACK_SECONDS", 0.05)
    second = PostgresDatabase(url, lambda *_: None)
    await second.open()
    with second.notifier.subscribe(1) as changed:
        await asyncio.wait_for(changed.wait(), 20)
    await second.close()
    assert database.notifier is not second.notifier


async def test_writes_without_the_lease_are_refused_and_counted(database: PostgresDatabase) -> None:
    leased = LeasedDatabase(database)
    request = SessionCreate(task="x")
    session = await database.write(sessions.add, session_id="s", project="demo", request=request, created_at=0)
    epoch = await database.write(leases.acquire, session.row_id, "worker", "disk")
    assert epoch is not None
    leased.held[session.row_id] = epoch
    await leased.write(sessions.lock_row, session.row_id)
    await database.write(leases.revoke, session.row_id)
    with pytest.raises(LeaseLost):
        await leased.write_until_stored(sessions.lock_row, session.row_id)
    assert leased.refused_writes == 1
    await database.write(sessions.remove, session.row_id)
    with pytest.raises(SessionGone):
        await leased.write(sessions.lock_row, session.row_id)
    assert leased.refused_writes == 1


def test_a_notification_has_room_for_what_it_names() -> None:
    numbers = range(10**12, 10**12 + 2000)
    payloads = list(_payloads(numbers))
    assert max(map(len, payloads)) <= changes.MAX_PAYLOAD
    assert [int(each) for payload in payloads for each in payload.split(",")] == list(numbers)
    assert list(_payloads([])) == []


async def test_a_store_is_unavailable_while_its_server_is_down_and_goes_on_afterwards(
    database: PostgresDatabase,
) -> None:
    await database.write(put(1))
    with postgresql_server().away():
        lasting = asyncio.create_task(database.write_until_stored(put(3)))
        for operation in (database.read(numbers), database.read_one(numbers), database.write(put(2))):
            with pytest.raises(StorageUnavailable):
                await operation
    assert await lasting == 3
    assert await database.read(numbers) == [1, 3]
