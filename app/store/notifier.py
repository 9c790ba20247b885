"""Wakes those who wait for news of a session: the news itself they read from the store."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Sequence
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
        self.reads: dict[Hashable, asyncio.Task[Any]] = {}


class ChangeNotifier:
    """Rung after each commit for the sessions that it has changed; lives in the event loop."""

    def __init__(self) -> None:
        self._watched: dict[int, _Subscribers] = {}

    def notify(self, sessions: Iterable[int]) -> None:
        """Wake all who watch one of these sessions."""
        for session in sessions:
            if watched := self._watched.get(session):
                watched.reads.clear()
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

    async def read_shared(self, session: int, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `read()`, shared by subscribers that ask for the same `key` until the next change.

        To be called while subscribed. The task is shared rather than its result, so those who come while it reads
        wait for it; one of them who is cancelled does not cancel it. Only the last `SHARED_READS` keys are remembered,
        and no read that failed.
        """
        subscribers = self._watched[session]
        if (task := subscribers.reads.get(key)) is None or _has_failed(task):
            if len(subscribers.bells) == 1:
                return await read()
            task = subscribers.reads[key] = asyncio.create_task(read())
            if len(subscribers.reads) > SHARED_READS:
                del subscribers.reads[next(iter(subscribers.reads))]
        return await asyncio.shield(task)


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


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
