"""Change notifications within one process.

A notification carries no data: it names sessions that have changed, and their subscribers read the store again. So
every subscriber sees the changes of the store in their order, and there is no queue for each of them.

    writer                            subscriber
    mark_changed(connection, 7)       with notifier.subscribe(7) as changed:
    commit                                changed.clear()
    notifier.notify({7})        →         read the store
                                          await changed.wait()
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection

from app.waiting import is_set_within, shielded

T = TypeVar("T")
SHARED_READS = 2
"""Reads of a session that are remembered until it changes: most subscribers are at one of the last two positions."""
WAKE_BATCH = 32
"""Subscribers that are woken in one iteration of the event loop; what they do then takes about a millisecond."""
_CHANGED_SESSIONS = "changed_sessions"


class _Subscriptions:
    """The subscribers of one session, and the reads that they share until it changes."""

    def __init__(self) -> None:
        self.flags: set[asyncio.Event] = set()
        self.reads: dict[Hashable, asyncio.Task[Any]] = {}


class ChangeNotifier:
    """Notifies subscribers of sessions that a commit has changed; belongs to one event loop."""

    def __init__(self) -> None:
        self._subscriptions: dict[int, _Subscriptions] = {}

    @contextmanager
    def subscribe(self, session: int) -> Iterator[asyncio.Event]:
        """Yield a flag that is set after each change; who clears it before reading the store misses none."""
        changed = asyncio.Event()
        subscriptions = self._subscriptions.setdefault(session, _Subscriptions())
        subscriptions.flags.add(changed)
        try:
            yield changed
        finally:
            subscriptions.flags.discard(changed)
            if not subscriptions.flags:
                self._subscriptions.pop(session, None)

    def notify(self, sessions: Iterable[int]) -> None:
        """Wake the subscribers of these sessions."""
        for session in sessions:
            if subscriptions := self._subscriptions.get(session):
                subscriptions.reads.clear()
                _wake([*subscriptions.flags])

    def notify_all(self) -> None:
        """Wake all subscribers, since any session may have changed."""
        self.notify(list(self._subscriptions))

    async def read_shared(self, session: int, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `read()`, shared by subscribers that ask for the same `key` until the next change.

        To be called while subscribed. The task is shared rather than its result, so those who come while it reads
        wait for it, and one of them who is cancelled does not cancel it. A read that failed is not shared.
        """
        subscriptions = self._subscriptions[session]
        task = subscriptions.reads.get(key)
        if task is None or _has_failed(task):
            if len(subscriptions.flags) == 1:
                return await read()
            task = subscriptions.reads[key] = asyncio.create_task(read())
            if len(subscriptions.reads) > SHARED_READS:
                del subscriptions.reads[next(iter(subscriptions.reads))]
        return await shielded(task)


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _wake(flags: Sequence[asyncio.Event]) -> None:
    """Set some flags now and the others in the next iterations of the loop, so that requests are served in between."""
    for flag in flags[:WAKE_BATCH]:
        flag.set()
    if others := flags[WAKE_BATCH:]:
        asyncio.get_running_loop().call_soon(_wake, others)


async def notified_before(changed: asyncio.Event, deadline: float) -> bool:
    """Wait until the flag is set; return False once `deadline`, a time of the event loop, has passed."""
    return await is_set_within(changed, deadline - asyncio.get_running_loop().time())


def mark_changed(connection: Connection, session: int) -> None:
    """Note that the transaction changes a session in a way that its subscribers wait for."""
    connection.info.setdefault(_CHANGED_SESSIONS, set()).add(session)


def changed_sessions(connection: Connection) -> set[int]:
    """Return the sessions that were noted since the last call."""
    sessions: set[int] = connection.info.pop(_CHANGED_SESSIONS, set())
    return sessions
