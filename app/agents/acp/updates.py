"""Updates of an agent on their way to a turn, bounded by bytes."""

import asyncio
from typing import Any

import msgspec

MAX_QUEUED_BYTES = 4 * 1024 * 1024
MAX_LATE_BYTES = 1024 * 1024
MIN_UPDATE_BYTES = 4096  # counted for a small update, which takes more memory as an object than its line has bytes


class OtherUpdate(msgspec.Struct, frozen=True):
    """An update that the SDK does not know or refuses, as the agent wrote it."""

    value: dict[str, Any]


class UpdateQueue:
    """The updates of a turn that the turn has not taken yet, bounded by bytes; one producer and one consumer."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[tuple[Any, int] | None]()
        self._size = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._abandoned = False

    async def put(self, update: Any, size: int) -> bool:
        """Add an update that came in `size` bytes, waiting for room before; return False if it is too late."""
        await self._has_room.wait()
        if not self._abandoned:
            self.put_nowait(update, max(size, MIN_UPDATE_BYTES))
        return not self._abandoned

    def put_nowait(self, update: Any, size: int = MIN_UPDATE_BYTES) -> None:
        """Add an update even if there is no room."""
        self._size += size
        if self._size >= MAX_QUEUED_BYTES:
            self._has_room.clear()
        self._queue.put_nowait((update, size))

    def finish(self) -> None:
        """Mark the end of the updates."""
        self._queue.put_nowait(None)

    def abandon(self) -> list[tuple[Any, int]]:
        """Take no more; return the updates that have not been taken, with their sizes in bytes."""
        self._abandoned = True
        self._has_room.set()
        entries = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        return [entry for entry in entries if entry]

    async def get(self) -> Any | None:
        """Return the next update; None at the end."""
        if (entry := await self._queue.get()) is None:
            return None
        update, size = entry
        self._size -= size
        if self._size < MAX_QUEUED_BYTES:
            self._has_room.set()
        return update


class LateUpdates:
    """Updates that come after the end of a turn, kept for the next turn of the agent's session."""

    def __init__(self) -> None:
        self._updates: list[tuple[Any, int]] = []
        self._size = 0
        self._full = False

    def add(self, update: Any, size: int) -> bool:
        """Add an update that came in `size` bytes; return False for the first one that finds no room."""
        size = max(size, MIN_UPDATE_BYTES)
        if self._size + size <= MAX_LATE_BYTES:
            self._size += size
            self._updates.append((update, size))
            return True
        was_full, self._full = self._full, True
        return was_full

    def move_to(self, queue: UpdateQueue) -> None:
        """Put the updates into a queue."""
        for update, size in self._updates:
            queue.put_nowait(update, size)
