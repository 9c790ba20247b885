"""Long logs on the event loop: some milliseconds of work at a time, one reader after the other, all else in between."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from time import perf_counter

from app.agui.events import E, EventBatch
from app.agui.renderers import EventLogWriter

ROUNDS = 8  # of the event loop between two turns: a small request takes several, and need not wait for one in each
ENOUGH = 0.0005  # seconds of work after which it is for others; most logs are short, and read before

Log = AsyncGenerator[Iterable[EventBatch[E]], None]
"""A log as it comes: each time the slices that one turn is for, read as they are gone through."""


class Turns:
    """`async with turns:` waits until it is one's turn to work."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._begun = self._worked = 0.0

    async def __aenter__(self) -> None:
        if self._worked >= ENOUGH:
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            self._worked = 0.0
        await self._lock.acquire()
        self._begun = perf_counter()

    async def __aexit__(self, *_error: object) -> None:
        self._worked += perf_counter() - self._begun
        self._lock.release()


async def read(log: Log[E], turns: Turns, take: Callable[[EventBatch[E]], object]) -> None:
    """Hand a log to `take`, slice by slice, until it returns True."""
    async with aclosing(log):
        async for slices in log:
            async with turns:
                if any(take(entries) is True for entries in slices):
                    return


async def write(log: Log[E], turns: Turns, written: EventLogWriter) -> AsyncGenerator[bytes, None]:
    """The pieces of what is written of a log, none of them empty."""
    async with aclosing(log):
        async for slices in log:
            async with turns:
                piece = written.feed(slices)
            if piece:
                yield piece
    async for piece in in_turns(written.finish(), turns):
        yield piece


async def in_turns(pieces: Iterator[bytes], turns: Turns) -> AsyncGenerator[bytes, None]:
    """The pieces, none of them empty, each made in a turn of its own."""
    while True:
        async with turns:
            piece = next(pieces, b"")
        if not piece:
            return
        yield piece
