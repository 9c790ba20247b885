"""Long logs on the event loop: in slices of a few milliseconds, one reader after the other, all else in between."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from app.agui.decode import Entries
from app.agui.output import Written

ROUNDS = 4  # of the event loop between two slices: a small request takes several, and need not wait for one in each


class Turns:
    """`async with turns:` waits until it is one's turn to work on a slice."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        await self._lock.acquire()

    async def __aexit__(self, *_error: object) -> None:
        self._lock.release()


async def read(log: AsyncGenerator[Entries, None], turns: Turns, take: Callable[[Entries], object]) -> None:
    """Hand a log to `take`, slice by slice, until it returns True."""
    async with aclosing(log):
        async for entries in log:
            async with turns:
                enough = take(entries)
            if enough is True:
                return


async def write(log: AsyncGenerator[Entries, None], turns: Turns, written: Written) -> AsyncGenerator[bytes, None]:
    """The pieces of a log's JSON, none of them empty."""
    async with aclosing(log):
        async for entries in log:
            async with turns:
                piece = written.take(entries)
            if piece:
                yield piece
    yield written.rest()
