"""Clients that do not read: what was written for them would stay in memory for as long as they like.

Streams look for themselves whether each part is read in time. This is for whatever else waits until a client has read:
the next of many responses on one connection, the rest of a page, and the end of a connection that is closed.
"""

import asyncio
from collections.abc import Callable

READ_SECONDS = 60.0
"""How long a client may read nothing, as in nginx: the system passes on by the megabyte what a slow client reads."""


class ReaderWatch:
    """Looks at what a transport has buffered from `start` to `stop`, and calls `stalled` once none of it is read."""

    def __init__(
        self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop, stalled: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._stalled = stalled
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on; nothing is written meanwhile."""
        self.stop()
        self._look_later(self._transport.get_write_buffer_size())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, size: int) -> None:
        self._timer = self._loop.call_later(READ_SECONDS, self._look, size)

    def _look(self, before: int) -> None:
        if (size := self._transport.get_write_buffer_size()) < before:
            self._look_later(size)
        else:
            self._timer = None
            self._stalled()
