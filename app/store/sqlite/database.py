"""The store's file: short reads on the event loop, long ones in threads, writes through the one writer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from app.errors import StorageFull, StorageUnavailable
from app.observability.metrics import Observe
from app.store.notifier import ChangeNotifier
from app.store.sqlite.engine import reading_engine, translate_errors, writing_engine
from app.store.sqlite.files import private_database
from app.store.sqlite.reserve import Reserve
from app.store.sqlite.writer import Writer

T = TypeVar("T")
HEAVY_READERS = 4
FIRST_RETRY, LAST_RETRY = 0.1, 5.0  # seconds


class Database:
    """One open store; made in the event loop that uses it."""

    def __init__(self, path: Path, observe: Observe) -> None:
        private_database(path)
        self._writing = writing_engine(path)
        self._reading = reading_engine(path, HEAVY_READERS + 1)
        migrate(self._writing)
        with translate_errors():
            self._reader = self._reading.connect()
        self._heavy = ThreadPoolExecutor(HEAVY_READERS, thread_name_prefix="store-reader")
        self._reserve = Reserve(path)
        self.notifier = ChangeNotifier()
        self._writer = Writer(self._writing, observe, self.notifier.notify)
        self.write = self._writer.write

    async def write_until_stored(self, function: Callable[[Connection], T]) -> T:
        """Like `write`, but where the storage fails try again until it works: for what must not be lost."""
        delay = FIRST_RETRY
        while True:
            try:
                return await self.write(function)
            except (StorageUnavailable, StorageFull):
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)

    async def write_from_reserve(self, function: Callable[[Connection], T]) -> T:
        """Like `write`, but where the storage is full try again in the room that is kept back for such a change.

        On a disk that is nearly full the journal is emptied as well, so that there is room in it for others.
        """
        try:
            return await self.write(function)
        except StorageFull:
            await asyncio.to_thread(self._empty_journal)
            return await self.write(function)
        finally:
            if self._reserve.is_needed():
                await asyncio.to_thread(self._empty_journal)

    def _empty_journal(self) -> None:
        """Bring into the file what the journal has, in the room kept back: the journal is then begun anew."""
        self._reserve.free()
        with suppress(StorageFull, StorageUnavailable), translate_errors(), self._reading.connect() as connection:
            connection.connection.execute("PRAGMA wal_checkpoint")
        self._reserve.fill()

    def read(self, function: Callable[[Connection], T]) -> T:
        """Run a short read here and now: in WAL mode a reader waits for nobody."""
        with translate_errors(), self._reader.begin():
            return function(self._reader)

    def read_one(self, function: Callable[[Connection], T]) -> T:
        """Like `read` for a function that runs one `Prepared` statement, which needs no transaction around it."""
        with translate_errors():
            return function(self._reader)

    async def read_in_thread(self, function: Callable[[Connection], T]) -> T:
        """Run a read whose length grows with a session's log in one of a few threads."""
        return await asyncio.get_running_loop().run_in_executor(self._heavy, self._read_with_own_connection, function)

    def _read_with_own_connection(self, function: Callable[[Connection], T]) -> T:
        with translate_errors(), self._reading.begin() as connection:
            return function(connection)

    async def close(self) -> None:
        """Commit what waits, then let go of the file."""
        await self._writer.close()
        await asyncio.to_thread(self._heavy.shutdown)
        self._reader.close()
        self._reserve.free()
        self._reading.dispose()
        self._writing.dispose()


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the file of a writing engine to the present shape; whoever opens the store does this first.

    `StorageUnavailable` if it has a shape that is not known here.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations").replace("%", "%%"))
    with translate_errors(), engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise StorageUnavailable("The session store was written by a newer version of this server.") from error
