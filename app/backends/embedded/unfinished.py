"""Writes that are finished, and followed by their signal to the engine, even if their request is cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

WAIT_SECONDS = 1.0
T = TypeVar("T")


class Unfinished:
    """The writes in progress, which a cancelled request leaves running."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, write: Coroutine[Any, Any, T], then: Callable[[T], object] | None = None) -> T:
        """Return the result of a write, which continues if the caller is cancelled.

        `then` is called with the result before the caller resumes, but what it schedules on the event loop runs after
        the caller: a response is sent before the work that it announces begins. An error that a cancelled caller does
        not get is no news for the log.
        """
        task = asyncio.create_task(write)
        self._tasks.add(task)
        result = asyncio.shield(task)
        task.add_done_callback(lambda _: _call(then, task))
        task.add_done_callback(self._tasks.discard)
        return await result

    async def wait(self) -> None:
        """Wait until all have ended, `WAIT_SECONDS` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_SECONDS)


def _call(then: Callable[[T], object] | None, task: "asyncio.Task[T]") -> None:
    has_succeeded = not task.cancelled() and task.exception() is None  # which retrieves the error
    if has_succeeded and then is not None:
        then(task.result())
