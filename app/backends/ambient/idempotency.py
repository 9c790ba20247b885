"""First answers by idempotency key, in a file of this server's own: the platform has no such keys.

A key is written down before the platform is asked and its answer when it is there. Where the server ends in between,
nobody knows what the platform has made of the request; it is not sent a second time.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TypeVar

import msgspec

from app.errors import ApiError, IdempotencyKeyReused, IdempotencyOutcomeUnknown, StorageFull, StorageUnavailable
from app.models.caller import Caller
from app.models.wire import WireModel
from app.results import Idempotent
from app.store.sqlite.files import private_database

T = TypeVar("T", bound=WireModel)
KEPT_SECONDS = 24 * 60 * 60
_OPENING = """
    PRAGMA journal_mode=WAL;
    PRAGMA synchronous=FULL;
    CREATE TABLE IF NOT EXISTS answers (
        key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, answer BLOB, begun_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_by_age ON answers (begun_at);
"""
log = logging.getLogger(__name__)


class IdempotencyStore:
    """The file is made when the first key comes, and used by one thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="first-answers")
        self._connection: sqlite3.Connection | None = None

    async def close(self) -> None:
        """Let go of the file."""
        if self._connection:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        await asyncio.to_thread(self._thread.shutdown)

    async def once(self, caller: Caller, kind: type[T], work: Callable[[], Awaitable[T]]) -> Idempotent[T]:
        """What `work` gives, or gave when the same request came first; an error is not kept.

        `IdempotencyKeyReused`, `IdempotencyOutcomeUnknown`, `StorageUnavailable`, `StorageFull`.
        """
        if (key := caller.idempotency_key) is None:
            return Idempotent(await work())
        if first := await self._do(self._begin, key.key, key.fingerprint):
            return Idempotent(msgspec.json.decode(first, type=kind), replayed=True)
        try:
            answer = await work()
        except ApiError:
            await self._do_quietly("DELETE FROM answers WHERE key = ?", key.key)
            raise
        await self._do_quietly("UPDATE answers SET answer = ? WHERE key = ?", msgspec.json.encode(answer), key.key)
        return Idempotent(answer)

    async def _do(self, function: Callable[..., bytes | None], *arguments: object) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _do_quietly(self, statement: str, *values: object) -> None:
        """What the platform has done is told as it is, whatever becomes of the file."""
        try:
            await self._do(self._execute, statement, *values)
        except ApiError:
            log.exception("a first answer could not be kept")

    def _begin(self, key: bytes, fingerprint: bytes) -> bytes | None:
        """Take a key that is new; the answer of one that has come before."""
        now = int(self._clock())
        with self._transaction() as connection:
            connection.execute("DELETE FROM answers WHERE begun_at <= ?", (now - KEPT_SECONDS,))
            query = "SELECT fingerprint, answer FROM answers WHERE key = ?"
            if (first := connection.execute(query, (key,)).fetchone()) is None:
                connection.execute("INSERT INTO answers VALUES (?, ?, NULL, ?)", (key, fingerprint, now))
                return None
        if first[0] != fingerprint:
            raise IdempotencyKeyReused
        if first[1] is None:
            raise IdempotencyOutcomeUnknown
        return bytes(first[1])

    def _execute(self, statement: str, *values: object) -> None:
        with self._transaction() as connection:
            connection.execute(statement, values)

    def _open(self) -> sqlite3.Connection:
        private_database(self._path)
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.executescript(_OPENING)
        return connection

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
