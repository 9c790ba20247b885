"""Sessions that have had nothing to do for a while are told of."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any


class IdleTimers:
    """One timer for each session that rests; `timeout` in seconds, None for no timers at all."""

    def __init__(self, timeout: float | None, tell: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        self._timeout = timeout
        self._on_idle = tell
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def start(self, session: int) -> None:
        """The session has nothing to do from now on; whether that is so still is looked at when its time is over."""
        if self._timeout is None:
            return
        if timer := self._timers.get(session):
            timer.cancel()
        self._timers[session] = asyncio.get_running_loop().call_later(self._timeout, self._expire, session)

    def close(self) -> None:
        """Tell of nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._telling:
            task.cancel()
        self._timers.clear()

    def _expire(self, session: int) -> None:
        del self._timers[session]
        task = asyncio.create_task(self._on_idle(session), name=f"end of the rest of session {session}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


class SessionSlots:
    """A session has a place from before its workspace is made until its agent has let go; `limit` None: no bound."""

    def __init__(self, limit: int | None) -> None:
        self._limit = math.inf if limit is None else limit
        self._taken: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def restore(self, session: int) -> None:
        """Give a session that runs already its place, even beyond the limit."""
        self._taken.add(session)

    async def acquire(self, session: int, tell: Callable[[str], None]) -> None:
        """Return once the session has a place; where it has to wait, `tell` is told so, and when it is over.

        A session that is cancelled meanwhile may have the place: `leave` is for that too.
        """
        if session in self._taken:
            return
        place = self._waiting[session] = asyncio.get_running_loop().create_future()
        self._admit()
        waits = not place.done()
        if waits:
            tell(f"waits for a place, MAX_RUNNING_SESSIONS is {self._limit}")
        try:
            await place
            if waits:
                tell("has a place")
        finally:
            self._waiting.pop(session, None)

    def release(self, session: int) -> None:
        """Give the session's place, if it has one, to the next that waits."""
        self._taken.discard(session)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._taken) < self._limit:
            session = next(iter(self._waiting))
            place = self._waiting.pop(session)
            if not place.done():
                self._taken.add(session)
                place.set_result(None)
