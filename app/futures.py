"""Futures that go on whether or not somebody waits for them."""

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


def _retrieve(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()
