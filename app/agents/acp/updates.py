"""What an agent has said in its turn and nobody has taken yet; bounded, so that one that floods is slowed down."""

import asyncio
from typing import Any

MAX_BYTES = 4 * 1024 * 1024
LEAST_BYTES = 4096
"""What a small update counts, since as an object it is much larger than its line."""


class Updates:
    """One producer, one consumer."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[tuple[Any, int] | None]()
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, update: Any, size: int) -> None:
        """Hand in an update that came in `size` bytes, waiting for room."""
        await self._room.wait()
        self.add(update, max(size, LEAST_BYTES))

    def add(self, update: Any, size: int = LEAST_BYTES) -> None:
        """Hand in what does not wait for room."""
        self._size += size
        if self._size >= MAX_BYTES:
            self._room.clear()
        self._queue.put_nowait((update, size))

    def finish(self) -> None:
        """Say that no update will follow."""
        self._queue.put_nowait(None)

    def abandon(self) -> None:
        """Say that none will be taken any more, so that nobody waits for room."""
        self._room.set()

    async def take(self) -> Any | None:
        """The next update; None once the producer has finished."""
        if (entry := await self._queue.get()) is None:
            return None
        update, size = entry
        self._size -= size
        if self._size < MAX_BYTES:
            self._room.set()
        return update
