"""The port between the server and the database that holds its sessions."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from app.errors import StorageFull, StorageUnavailable
from app.store.notifier import ChangeNotifier

P = ParamSpec("P")
T = TypeVar("T")
FIRST_RETRY, LAST_RETRY = 0.1, 5.0  # seconds


class Database(ABC):
    """An open database: runs plain functions of a connection, `function(connection, *args, **kwargs)`.

    Duties of a driver:

    * Each function runs in a transaction of its own: it sees one state of the database, and an error that it raises
      undoes all that it has changed and nothing else. The error reaches the caller as it is.
    * A write has returned only when its changes will survive a crash.
    * A function of a write may run twice, if the first attempt could not be committed.
    * Cancelling the caller of a write does not cancel the write.
    * The driver's own errors become `StorageUnavailable`, `StorageFull` or `InternalError`.
    * After each commit, `notifier.notify` is called in the event loop with the sessions for which a function has called
      `mark_changed`, before the writes return.
    """

    notifier: ChangeNotifier
    """Notified of every change, whichever function has made it."""

    @abstractmethod
    async def read(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short read: its cost must not grow with the length of a log."""

    @abstractmethod
    async def read_one(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a short read that executes a single `Statement`, and so needs no transaction around it."""

    @abstractmethod
    async def read_in_thread(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a read whose cost may grow with the length of a log, away from the event loop."""

    @abstractmethod
    async def write(self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that changes the database."""

    async def write_until_stored(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a write that must not be lost: as long as the storage fails, try again."""
        return await retry_until_stored(partial(self.write, function, *args, **kwargs))

    @abstractmethod
    async def write_from_reserve(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a write that must work on a full disk, such as a deletion: it may use space reserved for that."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the writes that have been handed in, then release the database."""


async def retry_until_stored(write: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `write()`, which is called again and again as long as the storage fails."""
    delay = FIRST_RETRY
    while True:
        try:
            return await write()
        except (StorageUnavailable, StorageFull):
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RETRY)
