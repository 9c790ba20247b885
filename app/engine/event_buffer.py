"""Where an agent's events wait for the next commit; bounded, so that a slow disk slows the agent down."""

import asyncio

from app.store.approvals import PendingApproval

MAX_EVENTS = 1000
MAX_BYTES = 8 * 1024 * 1024


class EventBuffer:
    """One producer, one consumer: everything that came during the last commit is taken at once."""

    def __init__(self) -> None:
        self._said: list[bytes | PendingApproval] = []
        self._size = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._discarding = False
        self._cut = False
        self._finished = False
        self.failure: Exception | None = None

    async def put(self, said: bytes | PendingApproval) -> bool:
        """Hand in an event or a question, waiting for room; False says that no more are wanted."""
        await self._room.wait()
        if self._discarding:
            await asyncio.sleep(0)  # an agent that never waits must not hold the loop
        elif not self._cut:
            self._said.append(said)
            self._size += len(said.event if isinstance(said, PendingApproval) else said)
            if len(self._said) >= MAX_EVENTS or self._size >= MAX_BYTES:
                self._room.clear()
            self._changed.set()
        return not self._cut

    def finish(self, failure: Exception | None = None) -> None:
        """Say that no event will follow, and why if that is an error."""
        self._finished = True
        self.failure = failure
        self._changed.set()

    def close(self) -> None:
        """Take no more; what has arrived can still be taken."""
        self._cut = True
        self._room.set()
        self._changed.set()

    def discard(self) -> None:
        """From now on drop everything."""
        self._discarding = True
        self._room.set()

    async def get_batch(self) -> list[bytes | PendingApproval]:
        """All that waits, at least one; none once the producer has finished or was cut."""
        while not self._said and not self._finished and not self._cut:
            self._changed.clear()
            await self._changed.wait()
        said, self._said, self._size = self._said, [], 0
        self._room.set()
        return said
