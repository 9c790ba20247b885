"""The session store in a SQLite file: short reads on the event loop, long ones in threads, writes by one writer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from app.errors import StorageFull, StorageUnavailable
from app.observability.metrics import Observe
from app.store.database import Database
from app.store.migrate import migrate
from app.store.notifier import ChangeNotifier
from app.store.sqlite.engine import reading_engine, translate_errors, writing_engine
from app.store.sqlite.files import Reserve, StoreLock, create_private_database
from app.store.sqlite.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")
READER_THREADS = 4


class SqliteDatabase(Database):
    """An open SQLite file, which is created or migrated first; belongs to the event loop in which it is made.

    In WAL mode readers and the writer do not wait for each other. A short read takes microseconds, which is less than
    a thread would cost, so it runs on the event loop and never suspends.
    """

    def __init__(self, path: Path, observe: Observe) -> None:
        """Open the file; `StorageUnavailable`, also if another server uses it."""
        self._lock = StoreLock(path)
        try:
            self._open(path, observe)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, path: Path, observe: Observe) -> None:
        create_private_database(path)
        self._write_engine = writing_engine(path)
        self._read_engine = reading_engine(path, connections=READER_THREADS + 1)
        with translate_errors():
            migrate(self._write_engine)
            self._reader = self._read_engine.connect()
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-reader")
        self._reserve = Reserve(path)
        self.notifier = ChangeNotifier()
        self._writer = Writer(self._write_engine, observe, self.notifier.notify)

    async def read(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short read here and now."""
        with translate_errors(), self._reader.begin():
            return function(self._reader, *args, **kwargs)

    async def read_one(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a short read here and now, without the statements that begin and end a transaction."""
        with translate_errors():
            return function(self._reader, *args, **kwargs)

    async def read_in_thread(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a long read in one of a few threads, each with a connection of its own."""
        read = partial(self._read_with_own_connection, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    def _read_with_own_connection(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with translate_errors(), self._read_engine.begin() as connection:
            return function(connection, *args, **kwargs)

    async def write(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Submit the function to the writer and wait until its changes are on disk."""
        return await self._writer.submit(function, *args, **kwargs)

    async def write_from_reserve(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `write`, but if the disk is full try again with the reserve.

        The reserve is not written to directly: it is released for a moment, in which the journal is moved into the
        database file. The journal then starts anew in the space that it already has, so later writes find room too.
        """
        try:
            return await self.write(function, *args, **kwargs)
        except StorageFull:
            await asyncio.to_thread(self._empty_journal)
            return await self.write(function, *args, **kwargs)
        finally:
            if self._reserve.is_needed():
                await asyncio.to_thread(self._empty_journal)

    def _empty_journal(self) -> None:
        self._reserve.release()
        with suppress(StorageFull, StorageUnavailable), translate_errors(), self._read_engine.connect() as connection:
            connection.connection.execute("PRAGMA wal_checkpoint")
        self._reserve.fill()

    async def close(self) -> None:
        """Commit what was submitted, then close the file."""
        await self._writer.close()
        await asyncio.to_thread(self._threads.shutdown)
        self._reader.close()
        self._reserve.release()
        self._read_engine.dispose()
        self._write_engine.dispose()
        self._lock.release()
