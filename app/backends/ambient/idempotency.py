"""Idempotency keys in a SQLite file of this server, since the platform has none.

A key is stored before its request is sent and the response once it has arrived. If the server stops in between, nobody
knows whether the platform has carried out the request, so it is refused from then on rather than sent again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from app.errors import ApiError
from app.models.caller import Caller
from app.models.wire import WireModel
from app.results import Idempotent

if TYPE_CHECKING:
    from app.store.sqlite.idempotency import IdempotencyFile

M = TypeVar("M", bound=WireModel)
T = TypeVar("T")
log = structlog.get_logger()


class IdempotencyStore:
    """Keys and responses in the file at `path`, which is created with the first key and used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idempotency")
        self._open_file: IdempotencyFile | None = None

    async def close(self) -> None:
        """Close the file."""
        if self._open_file:
            await self._in_thread(self._file().close)
        await asyncio.to_thread(self._thread.shutdown)

    async def once(self, caller: Caller, kind: type[M], work: Callable[[], Awaitable[M]]) -> Idempotent[M]:
        """Return the result of `work`, or the stored one if the caller's key has come before. Errors are not stored.

        `IdempotencyKeyReused`, `IdempotencyOutcomeUnknown`, `StorageUnavailable`, `StorageFull`.
        """
        if (key := caller.idempotency_key) is None:
            return Idempotent(await work())
        if stored := await self._in_thread(lambda: self._file().begin(key, kind)):
            return Idempotent(stored, replayed=True)
        try:
            result = await work()
        except ApiError:
            await self._try(lambda: self._file().forget(key))
            raise
        await self._try(lambda: self._file().complete(key, result))
        return Idempotent(result)

    async def _try(self, write: Callable[[], None]) -> None:
        """Write after the request was sent: its outcome counts even if the file cannot be written."""
        try:
            await self._in_thread(write)
        except ApiError:
            log.exception("idempotency_store_failed")

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _file(self) -> "IdempotencyFile":
        if self._open_file is None:
            # Only a server that gets keys pays for the library, which takes 12 MB.
            from app.store.sqlite.idempotency import IdempotencyFile  # noqa: PLC0415

            self._open_file = IdempotencyFile(self._path)
        return self._open_file
