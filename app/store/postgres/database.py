"""The session store in PostgreSQL: each function runs in one of a few threads, which have a connection each.

There is no group commit: PostgreSQL flushes the commits of several connections together by itself, and one transaction
with the rows of many sessions would meet another such in a deadlock.

A commit whose response is lost counts once. Each write asks for the id of its transaction when it begins; a new
connection can then tell what has become of it.
"""

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
import structlog
from psycopg import errors
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.errors import StorageUnavailable
from app.observability.metrics import Observe
from app.store.database import Database, retry_until_stored
from app.store.migrate import migrate
from app.store.notifier import ChangeNotifier, changed_sessions
from app.store.postgres.changes import ChangeChannel
from app.store.postgres.engine import LOST, make_engine, translate_errors
from app.store.statements import driver
from app.waiting import shielded

P = ParamSpec("P")
T = TypeVar("T")
READER_THREADS = 3
LONG_READER_THREADS = 2
WRITER_THREADS = 5
MAX_ATTEMPTS = 10
"""How often a function runs that conflicts with others; each attempt waits a little longer."""
RESOLVE_SECONDS = 5.0
"""How long a request waits to learn whether its commit, of which the response was lost, has taken place."""
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_BEGIN_WRITE = "BEGIN; SELECT pg_current_xact_id()::text"
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
log = structlog.get_logger()


class PostgresDatabase(Database):
    """An open PostgreSQL database; belongs to the event loop in which it is opened."""

    def __init__(self, url: str, observe: Observe) -> None:
        """Take the URL; `open` is to be called next."""
        self._engine = make_engine(url)
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self.notifier = ChangeNotifier()
        self._changes = ChangeChannel(url, self.notifier)
        self._connections = threading.local()
        self._open_connections: set[Connection] = set()
        self._is_open = True
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-reader")
        self._long_readers = ThreadPoolExecutor(LONG_READER_THREADS, thread_name_prefix="store-long-reader")
        self._writers = ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="store-writer")

    async def open(self) -> None:
        """Migrate the tables if need be and listen for changes; `StorageUnavailable`."""
        await self._loop.run_in_executor(self._writers, self._migrate)
        await self._changes.open()

    def _migrate(self) -> None:
        with translate_errors():
            migrate(self._engine)

    async def read(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short read in a thread."""
        read = partial(self._read, _BEGIN_READ, _bind(function, *args, **kwargs))
        return await self._loop.run_in_executor(self._readers, read)

    async def read_one(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a short read in a thread, without the statements that begin and end a transaction."""
        read = partial(self._read, None, _bind(function, *args, **kwargs))
        return await self._loop.run_in_executor(self._readers, read)

    async def read_in_thread(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a long read in one of the threads for these, so that short ones do not wait for it."""
        read = partial(self._read, _BEGIN_READ, _bind(function, *args, **kwargs))
        return await self._loop.run_in_executor(self._long_readers, read)

    async def write(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a transaction of its own and wait until its changes are on disk."""
        return await self._submit(_bind(function, *args, **kwargs), RESOLVE_SECONDS)

    async def write_until_stored(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database`; a lost commit is waited for however long it takes to learn of it."""
        submit = partial(self._submit, _bind(function, *args, **kwargs), math.inf)
        return await retry_until_stored(submit)

    async def write_from_reserve(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same as `write`: how much space a database has is its operator's concern."""
        return await self.write(function, *args, **kwargs)

    async def close(self) -> None:
        """Finish the writes that have been handed in, then close the connections."""
        self._is_open = False
        for threads in (self._writers, self._readers, self._long_readers):
            await asyncio.to_thread(threads.shutdown)
        await self._changes.close()
        for connection in list(self._open_connections):
            self._discard(connection)
        self._engine.dispose()

    async def _submit(self, function: Callable[[Connection], T], resolve_seconds: float) -> T:
        if not self._is_open:
            raise StorageUnavailable
        # Shielded, since a function that has been handed in runs even if nobody waits for it any more.
        return await shielded(self._loop.run_in_executor(self._writers, self._write, function, resolve_seconds))

    # In the threads

    def _read(self, begin: str | None, function: Callable[[Connection], T]) -> T:
        with translate_errors():
            try:
                return self._attempt_to_read(begin, function)
            except (DBAPIError, psycopg.Error) as error:
                if not isinstance(_cause(error), LOST):
                    raise
            return self._attempt_to_read(begin, function)  # the connection was an old one, which had been cut

    def _attempt_to_read(self, begin: str | None, function: Callable[[Connection], T]) -> T:
        connection = self._connection()
        try:
            if begin is None:
                return function(connection)
            _driver(connection).execute(begin)
            value = function(connection)
            _driver(connection).execute("COMMIT")
        except BaseException as error:
            self._clean_up(connection, error)
            raise
        finally:
            _end(connection)
        return value

    def _write(self, function: Callable[[Connection], T], resolve_seconds: float) -> T:
        started = time.perf_counter()
        try:
            with translate_errors():
                value = self._write_once(function, resolve_seconds)
        except StorageUnavailable:
            self._observe("commit", time.perf_counter() - started, "error")
            raise
        self._observe("commit", time.perf_counter() - started, "ok")
        return value

    def _write_once(self, function: Callable[[Connection], T], resolve_seconds: float) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt_to_write(function, resolve_seconds)
            except (DBAPIError, psycopg.Error) as error:
                cause = _cause(error)
                retries = MAX_ATTEMPTS if isinstance(cause, _CONFLICTS) else 2 if isinstance(cause, LOST) else 1
                if attempt >= retries:
                    raise
            time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 - no secret

    def _attempt_to_write(self, function: Callable[[Connection], T], resolve_seconds: float) -> T:
        connection = self._connection()
        try:
            transaction = _begin(connection)
            value = function(connection)
            changed = changed_sessions(connection)
            try:
                _driver(connection).execute("COMMIT")
            except psycopg.Error as error:
                if not isinstance(error, LOST) or not self._has_committed(transaction, resolve_seconds):
                    raise
                self._discard(connection)
        except BaseException as error:
            self._clean_up(connection, error)
            raise
        finally:
            _end(connection)
        if changed:  # before the result, so that nobody who has one finds a shared read from before the commit
            self._loop.call_soon_threadsafe(self._changes.publish, changed)
        return value

    def _has_committed(self, transaction: str, resolve_seconds: float) -> bool:
        """Return what has become of a transaction whose commit got no response; `StorageUnavailable`."""
        deadline = time.monotonic() + resolve_seconds
        while True:
            try:
                with self._engine.connect() as connection:
                    status = _driver(connection).execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
                if status != ("in progress",):
                    return bool(status == ("committed",))
            except errors.InvalidParameterValue:  # the id is in the future: the database has forgotten it in a crash
                return False
            except (DBAPIError, psycopg.Error) as error:
                if time.monotonic() > deadline or not self._is_open:
                    log.warning("commit_unknown", exc_info=True)
                    raise StorageUnavailable from error
            time.sleep(0.2)

    def _connection(self) -> Connection:
        """Return this thread's connection, in which each statement is a transaction unless one has been begun."""
        found: Connection | None = getattr(self._connections, "connection", None)
        if found is None or found.closed:
            found = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connections.connection = found
            self._open_connections.add(found)
        return found

    def _clean_up(self, connection: Connection, error: BaseException) -> None:
        """Undo what has been begun; a connection that does not work any more is closed."""
        # SQLAlchemy has invalidated a connection that one of its own statements has found lost: it has no driver's.
        if connection.invalidated or (
            isinstance(error, DBAPIError | psycopg.Error) and isinstance(_cause(error), LOST)
        ):
            self._discard(connection)
            return
        try:
            changed_sessions(connection)
            _driver(connection).rollback()
        except (DBAPIError, psycopg.Error):
            self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        self._open_connections.discard(connection)
        if not connection.closed:
            connection.invalidate()
            connection.close()


def _bind(
    function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> Callable[[Connection], T]:
    def bound(connection: Connection) -> T:
        return function(connection, *args, **kwargs)

    return bound


def _begin(connection: Connection) -> str:
    """Begin a transaction that changes something, and return its id."""
    cursor = _driver(connection).execute(_BEGIN_WRITE, prepare=False)
    cursor.nextset()
    [transaction] = cursor.fetchone() or [""]
    return str(transaction)


def _end(connection: Connection) -> None:
    """Let SQLAlchemy forget the transaction that it has begun by itself, of which the database knows nothing."""
    if not connection.closed and connection.in_transaction():
        connection.commit()


def _cause(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _driver(connection: Connection) -> "psycopg.Connection[Any]":
    return cast("psycopg.Connection[Any]", driver(connection))
