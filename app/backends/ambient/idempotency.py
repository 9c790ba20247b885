"""Idempotency keys in a SQLite file of this server, since the platform has none.

A key is stored before its request is sent and the response once it has arrived. If the server stops in between, nobody
knows whether the platform has carried out the request, so it is refused from then on rather than sent again.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TypeVar

import msgspec
import structlog

from app.errors import ApiError, IdempotencyKeyReused, IdempotencyOutcomeUnknown, StorageFull, StorageUnavailable
from app.models.caller import Caller
from app.models.wire import WireModel
from app.results import Idempotent
from app.store.sqlite.files import private_database

T = TypeVar("T", bound=WireModel)

RETENTION_SECONDS = 24 * 60 * 60

_SCHEMA = """
    PRAGMA journal_mode=WAL;
    PRAGMA synchronous=FULL;
    CREATE TABLE IF NOT EXISTS answers (
        key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, answer BLOB, begun_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_by_age ON answers (begun_at);
"""

log = structlog.get_logger()


class IdempotencyStore:
    """Keys and responses in the file at `path`, which is created with the first key and used by one thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idempotency")
        self._connection: sqlite3.Connection | None = None

    async def close(self) -> None:
        """Close the file."""
        if self._connection:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        await asyncio.to_thread(self._thread.shutdown)

    async def once(self, caller: Caller, kind: type[T], work: Callable[[], Awaitable[T]]) -> Idempotent[T]:
        """Return the result of `work`, or the stored one if the caller's key has come before. Errors are not stored.

        `IdempotencyKeyReused`, `IdempotencyOutcomeUnknown`, `StorageUnavailable`, `StorageFull`.
        """
        if (key := caller.idempotency_key) is None:
            return Idempotent(await work())
        if stored := await self._in_thread(self._begin, key.key, key.fingerprint):
            return Idempotent(msgspec.json.decode(stored, type=kind), replayed=True)
        try:
            result = await work()
        except ApiError:
            await self._try_to_execute("DELETE FROM answers WHERE key = ?", key.key)
            raise
        await self._try_to_execute("UPDATE answers SET answer = ? WHERE key = ?", msgspec.json.encode(result), key.key)
        return Idempotent(result)

    async def _in_thread(self, function: Callable[..., bytes | None], *arguments: object) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _try_to_execute(self, statement: str, *values: object) -> None:
        """Execute a statement after the request was sent: its outcome counts even if the file cannot be written."""
        try:
            await self._in_thread(self._execute, statement, *values)
        except ApiError:
            log.exception("idempotency_store_failed")

    def _begin(self, key: bytes, fingerprint: bytes) -> bytes | None:
        """Store a key that is new and return None, or return the response that is stored with it."""
        now = int(self._clock())
        with self._transaction() as connection:
            connection.execute("DELETE FROM answers WHERE begun_at <= ?", (now - RETENTION_SECONDS,))
            query = "SELECT fingerprint, answer FROM answers WHERE key = ?"
            if (row := connection.execute(query, (key,)).fetchone()) is None:
                connection.execute("INSERT INTO answers VALUES (?, ?, NULL, ?)", (key, fingerprint, now))
                return None
        if row[0] != fingerprint:
            raise IdempotencyKeyReused
        if row[1] is None:
            raise IdempotencyOutcomeUnknown
        return bytes(row[1])

    def _execute(self, statement: str, *values: object) -> None:
        with self._transaction() as connection:
            connection.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection = self._connection or self._open()
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
            raise (StorageFull if full else StorageUnavailable) from error
        except OSError as error:
            raise StorageUnavailable from error

    def _open(self) -> sqlite3.Connection:
        private_database(self._path)
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.executescript(_SCHEMA)
        return connection
