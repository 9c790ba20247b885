"""Wakes those who wait for news of a session: the news itself they read from the store."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

_TOUCHED = "sessions with news"


class Bell:
    """Rung after each commit for the sessions that it has changed; lives in the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Event]] = {}

    def ring(self, sessions: Iterable[int]) -> None:
        """Wake all who watch one of these sessions."""
        for session in sessions:
            for rung in self._waiting.get(session, ()):
                rung.set()

    @contextmanager
    def watch(self, session: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the session has news: clear it before reading, and nothing is missed."""
        rung = asyncio.Event()
        waiting = self._waiting.setdefault(session, set())
        waiting.add(rung)
        try:
            yield rung
        finally:
            waiting.discard(rung)
            if not waiting:
                self._waiting.pop(session, None)


async def rung_before(rung: asyncio.Event, deadline: float) -> bool:
    """Wait until the bell has rung; False once `deadline`, a time of the event loop, has passed."""
    try:
        async with asyncio.timeout_at(deadline):
            return await rung.wait()
    except TimeoutError:
        return False


def touch(connection: Connection, session: int) -> None:
    """Note that this transaction of the writer has news of the session."""
    connection.info.setdefault(_TOUCHED, set()).add(session)


def touched(connection: Connection) -> set[int]:
    """The sessions noted since the last call."""
    noted: set[int] = connection.info.pop(_TOUCHED, set())
    return noted
