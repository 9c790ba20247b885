"""Fair sharing of the event loop between long reads and everything else.

Decoding a log of 100 MB takes half a second. A thread would not help, because msgspec holds the interpreter's lock. So
readers of logs work on the event loop in short turns, one reader at a time, and pause once they have worked for half a
millisecond together, so that small requests are served in between.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from time import perf_counter

from app.agui.events import E, EventBatch
from app.agui.renderers import EventLogWriter

WORK_SECONDS = 0.0005
"""Work after which readers pause. Most logs are shorter and are read without a pause."""

PAUSE_ITERATIONS = 8
"""Iterations of the event loop that a pause lasts: a small request takes several, and should wait for one turn only."""

Batches = AsyncGenerator[Iterable[EventBatch[E]], None]
"""A log as it arrives: each item has the batches of one turn, which are decoded while it is iterated over."""


class Turns:
    """The turns of those who read one backend's logs: `async with turns:` waits for one and lasts for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._started = 0.0
        self._worked = 0.0

    async def __aenter__(self) -> None:
        if self._worked >= WORK_SECONDS:
            for _ in range(PAUSE_ITERATIONS):
                await asyncio.sleep(0)
            self._worked = 0.0
        await self._lock.acquire()
        self._started = perf_counter()

    async def __aexit__(self, *_error: object) -> None:
        self._worked += perf_counter() - self._started
        self._lock.release()

    async def read(self, log: Batches[E], feed: Callable[[EventBatch[E]], object]) -> None:
        """Pass a log to `feed`, batch by batch, until it returns True."""
        async with aclosing(log):
            async for batches in log:
                async with self:
                    if any(feed(batch) is True for batch in batches):
                        return

    async def write(self, log: Batches[E], writer: EventLogWriter) -> AsyncGenerator[bytes, None]:
        """Yield the pieces that the writer makes of a log; none is empty."""
        async with aclosing(log):
            async for batches in log:
                async with self:
                    piece = writer.feed(batches)
                if piece:
                    yield piece
        async for piece in self.each(writer.finish()):
            yield piece

    async def each(self, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield pieces that are not empty, each made in a turn of its own."""
        while True:
            async with self:
                piece = next(pieces, b"")
            if not piece:
                return
            yield piece
