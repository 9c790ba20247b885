"""Ways to wait: for work, whatever becomes of the caller, and for an event that may not come."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def shielded(work: Awaitable[T]) -> T:
    """Return the result of work, which goes on if the caller is cancelled.

    Its error is then no news for the log: `asyncio.shield` alone leaves it to be reported as forgotten.
    """
    future = asyncio.ensure_future(work)
    future.add_done_callback(_retrieve)
    return await asyncio.shield(future)


async def completed(work: Awaitable[T]) -> T:
    """Return the result of work, which has ended in any case: a caller that is cancelled goes on only then."""
    future = asyncio.ensure_future(work)
    try:
        return await shielded(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, for so many seconds; return whether it is."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _retrieve(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()
