"""Sessions that have had nothing to do for a while are told of."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Idleness:
    """One timer for each session that rests; `timeout` in seconds, None for no timers at all."""

    def __init__(self, timeout: float | None, tell: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        self._timeout = timeout
        self._tell = tell
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def begin(self, session: int) -> None:
        """The session has nothing to do from now on; whether that is so still is looked at when its time is over."""
        if self._timeout is None:
            return
        if timer := self._timers.get(session):
            timer.cancel()
        self._timers[session] = asyncio.get_running_loop().call_later(self._timeout, self._over, session)

    def close(self) -> None:
        """Tell of nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._telling:
            task.cancel()
        self._timers.clear()

    def _over(self, session: int) -> None:
        del self._timers[session]
        task = asyncio.create_task(self._tell(session), name=f"end of the rest of session {session}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
