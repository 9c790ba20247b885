"""Wakes those who wait for news of a session: the news itself they read from the store."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
SHARED_READS = 2
WAKE_BATCH = 32
"""Readers that are woken together: as many take about a millisecond."""
_CHANGED = "sessions with news"


class _Subscribers:
    """Who watches a session, and the last things that they have read since it had news."""

    def __init__(self) -> None:
        self.bells: set[asyncio.Event] = set()
        self.read: dict[Hashable, Any] = {}


class ChangeNotifier:
    """Rung after each commit for the sessions that it has changed; lives in the event loop."""

    def __init__(self) -> None:
        self._watched: dict[int, _Subscribers] = {}

    def notify(self, sessions: Iterable[int]) -> None:
        """Wake all who watch one of these sessions."""
        for session in sessions:
            if watched := self._watched.get(session):
                watched.read.clear()
                _wake([*watched.bells])

    @contextmanager
    def subscribe(self, session: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the session has news: clear it before reading, and nothing is missed."""
        rung = asyncio.Event()
        watched = self._watched.setdefault(session, _Subscribers())
        watched.bells.add(rung)
        try:
            yield rung
        finally:
            watched.bells.discard(rung)
            if not watched.bells:
                self._watched.pop(session, None)

    def read_shared(self, session: int, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` returns, or returned for another who watches the session and asked for `key` since it had news.

        To be called while watching; only the last `KEPT` answers are at hand, and none where nobody else watches.
        """
        watched = self._watched[session]
        if key in watched.read:
            found: T = watched.read[key]
            return found
        found = read()
        if len(watched.bells) > 1:
            watched.read[key] = found
            if len(watched.read) > SHARED_READS:
                del watched.read[next(iter(watched.read))]
        return found


def _wake(bells: Sequence[asyncio.Event]) -> None:
    """Some now, the others in the next rounds of the loop, so that requests come in between."""
    for rung in bells[:WAKE_BATCH]:
        rung.set()
    if others := bells[WAKE_BATCH:]:
        asyncio.get_running_loop().call_soon(_wake, others)


async def notified_before(rung: asyncio.Event, deadline: float) -> bool:
    """Wait until the bell has rung; False once `deadline`, a time of the event loop, has passed."""
    try:
        async with asyncio.timeout_at(deadline):
            return await rung.wait()
    except TimeoutError:
        return False


def mark_changed(connection: Connection, session: int) -> None:
    """Note that this transaction of the writer has news of the session."""
    connection.info.setdefault(_CHANGED, set()).add(session)


def changed_sessions(connection: Connection) -> set[int]:
    """The sessions noted since the last call."""
    noted: set[int] = connection.info.pop(_CHANGED, set())
    return noted
