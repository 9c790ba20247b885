"""Blocking work of an async caller, step by step in threads, and never still running once the caller goes on."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar

from app.waiting import completed

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Return the result of work in a thread; when cancelled, wait until the thread has ended."""
    return await completed(asyncio.to_thread(work, *arguments))


async def steps(work: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """Yield what a generator yields, whose steps each take a thread, so that a slow reader holds none."""
    try:
        while (step := await in_thread(_next, work)) is not None:
            yield step[0]
    finally:
        work.close()


def _next(work: Generator[T, None, None]) -> tuple[T] | None:
    for found in work:
        return (found,)
    return None
