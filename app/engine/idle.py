"""Stops sessions that have had nothing to do for long enough: a timer for each, set whenever it has become idle."""

import asyncio
from collections.abc import Callable

import structlog

from app.clock import now_ms
from app.errors import ApiError
from app.store import idle
from app.store.commands.sessions import stop_if_idle
from app.store.database import Database
from app.store.sessions import SessionRow

LOOK_AGAIN_SECONDS = 5.0
"""Seconds until a session is looked at again that has an open approval, or that the store could not tell of."""

log = structlog.get_logger()


class IdleSessions:
    """The timers of idle sessions; `limit` in seconds is the server's time limit for all of them, None: it has none.

    The store tells when a session is to be stopped, and decides at that time whether it is still idle.
    """

    def __init__(self, database: Database, limit: float | None) -> None:
        self._database = database
        self._limit = limit
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._expired: asyncio.Queue[int] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self, stop: Callable[[SessionRow], None]) -> None:
        """Set the timers of the sessions that an earlier server has left idle, and from now on `stop` those due."""
        for session, at in (await self._database.read(idle.deadlines, self._limit)).items():
            self._set(session, at)
        self._task = asyncio.create_task(self._stop_expired(stop), name="idle sessions")

    def close(self) -> None:
        """Stop no session any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._task:
            self._task.cancel()

    async def watch(self, session: int) -> None:
        """Set the timer of a session that has just become idle."""
        try:
            at = await self._database.read(idle.deadline, session, self._limit)
        except ApiError:
            at = _later()
        if at is not None:
            self._set(session, at)

    def _set(self, session: int, at: int) -> None:
        if timer := self._timers.pop(session, None):
            timer.cancel()
        delay = max(0, at - now_ms() + 1) / 1000  # not before that millisecond is over
        self._timers[session] = asyncio.get_running_loop().call_later(delay, self._expire, session)

    def _expire(self, session: int) -> None:
        del self._timers[session]
        self._expired.put_nowait(session)

    async def _stop_expired(self, stop: Callable[[SessionRow], None]) -> None:
        while True:
            session = await self._expired.get()
            try:
                if stopping := await self._database.write_until_stored(stop_if_idle, session, self._limit):
                    stop(stopping)
                elif (at := await self._database.read(idle.deadline, session, self._limit)) is not None:
                    self._set(session, max(at, _later()))
            except Exception:
                log.exception("session_task_failed", task="stop_if_idle")
                self._set(session, _later())


def _later() -> int:
    return now_ms() + round(LOOK_AGAIN_SECONDS * 1000)
