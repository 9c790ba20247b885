"""The bounded buffer between a run's agent and the store: a slow disk slows the agent down."""

import asyncio
from enum import StrEnum

from app.store.approvals import PendingApproval

MAX_EVENTS = 1000
MAX_BYTES = 8 * 1024 * 1024


class CancelReason(StrEnum):
    """Why a run is ended although its agent could go on."""

    INTERRUPT = "interrupt"
    STOP = "stop"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    TOO_MANY_APPROVALS = "too_many_approvals"
    TOO_LARGE = "too_large"
    WORKSPACE_TOO_LARGE = "workspace_too_large"


class EventBuffer:
    """Events and approvals of one run, from one producer to one consumer.

    The consumer gets everything at once that has arrived since it last came. Either side can end the exchange: the
    producer by `finish`, anybody else by `close`. After both, what has arrived can still be consumed.
    """

    def __init__(self) -> None:
        self._items: list[bytes | PendingApproval] = []
        self._size = 0
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._closed = False
        self._finished = False
        self._discarding = False
        self.cancel_reason: CancelReason | None = None
        """The first reason that was given for closing the buffer."""
        self.failure: Exception | None = None
        """The producer's error, if it has finished with one."""

    async def put(self, item: bytes | PendingApproval) -> bool:
        """Add an event or an approval, waiting for room; return False if no more are accepted."""
        await self._has_room.wait()
        if self._discarding:
            await asyncio.sleep(0)  # an agent that never waits must not hold the event loop
        elif not self._closed:
            self._items.append(item)
            self._size += len(item.event if isinstance(item, PendingApproval) else item)
            if len(self._items) >= MAX_EVENTS or self._size >= MAX_BYTES:
                self._has_room.clear()
            self._changed.set()
        return not self._closed

    def finish(self, failure: Exception | None = None) -> None:
        """Note that the producer adds no more, with its error if it has failed."""
        self._finished = True
        self.failure = failure
        self._changed.set()

    def close(self, reason: CancelReason | None = None) -> None:
        """Accept no more; of several reasons the first counts."""
        self.cancel_reason = self.cancel_reason or reason
        self._closed = True
        self._has_room.set()
        self._changed.set()

    def discard(self) -> None:
        """Drop everything that is added from now on."""
        self._discarding = True
        self._has_room.set()

    async def get_batch(self) -> list[bytes | PendingApproval]:
        """Return all items, waiting for one; an empty list once the buffer is finished or closed and empty."""
        while not self._items and not self._finished and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        items, self._items, self._size = self._items, [], 0
        self._has_room.set()
        return items
