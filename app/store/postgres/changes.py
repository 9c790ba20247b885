"""Change notifications between processes, by PostgreSQL's LISTEN and NOTIFY.

A NOTIFY within a transaction would end the common flush of commits, since it takes a lock on the whole cluster until
the commit is on disk. So each process collects the sessions that its commits have changed and names them afterwards in
a transaction of its own; what changes while one NOTIFY is under way goes with the next.

A notification can be lost: its sender may die before it is sent, or the connection of a listener may be cut. So all
subscribers are notified whenever the listener has connected, and every few seconds in any case.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import structlog

from app.errors import StorageUnavailable
from app.store.notifier import ChangeNotifier
from app.store.postgres.engine import connect_async
from app.waiting import is_set_within

CHANNEL = "ambient_changes"
MAX_PAYLOAD = 7_999  # bytes
FALLBACK_SECONDS = 5.0
CLOSE_SECONDS = 1.0
FIRST_RETRY, LAST_RETRY = 0.1, 2.0  # seconds
log = structlog.get_logger()


class ChangeChannel:
    """Passes changes of sessions between the notifiers of all processes; belongs to one event loop."""

    def __init__(self, url: str, notifier: ChangeNotifier) -> None:
        self._url = url
        self._notifier = notifier
        self._changed: set[int] = set()
        self._has_changes = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._sender: int | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to listen; `StorageUnavailable`."""
        try:
            listener = await self._listen()
        except psycopg.Error as error:
            raise StorageUnavailable from error
        self._tasks = [
            asyncio.create_task(self._receive(listener), name="changes: receive"),
            asyncio.create_task(self._send(), name="changes: send"),
            asyncio.create_task(self._notify_regularly(), name="changes: fallback"),
        ]

    async def close(self) -> None:
        """Send what has changed, then close the connections."""
        await is_set_within(self._all_sent, CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, sessions: Iterable[int]) -> None:
        """Notify the subscribers in this process now and those in others soon."""
        sessions = set(sessions)
        self._notifier.notify(sessions)
        self._changed |= sessions
        self._has_changes.set()
        self._all_sent.clear()

    async def _listen(self) -> "psycopg.AsyncConnection[Any]":
        """Return a connection that listens."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await connect_async(self._url, "listener")
            stack.push_async_callback(connection.close)
            await connection.execute(f"LISTEN {CHANNEL}")
            stack.pop_all()
        return connection

    async def _receive(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        delay = FIRST_RETRY
        while True:
            try:
                async with connection:
                    self._notifier.notify_all()
                    async for notification in connection.notifies():
                        if notification.pid != self._sender:
                            self._notifier.notify(_sessions(notification.payload))
            except psycopg.Error:
                log.warning("listener_lost", exc_info=True)
            while True:
                try:
                    await asyncio.sleep(delay)
                    connection, delay = await self._listen(), FIRST_RETRY
                    break
                except psycopg.Error:
                    delay = min(2 * delay, LAST_RETRY)

    async def _send(self) -> None:
        delay = FIRST_RETRY
        while True:
            try:
                async with await connect_async(self._url, "notifier") as connection:
                    await connection.execute("SET synchronous_commit = off")
                    self._sender = connection.info.backend_pid
                    delay = FIRST_RETRY
                    await self._send_over(connection)
            except psycopg.Error:
                log.warning("notifying_failed", exc_info=True)
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)

    async def _send_over(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        while True:
            await self._has_changes.wait()
            self._has_changes.clear()
            sending, self._changed = self._changed, set()
            try:
                for payload in _payloads(sending):
                    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
            except psycopg.Error:
                self._changed |= sending
                self._has_changes.set()
                raise
            if not self._changed:
                self._all_sent.set()

    async def _notify_regularly(self) -> None:
        while True:
            await asyncio.sleep(FALLBACK_SECONDS)
            self._notifier.notify_all()


def _payloads(sessions: Iterable[int]) -> Iterator[str]:
    """Yield the row ids, separated by commas, in texts that a notification can hold."""
    payload = ""
    for session in map(str, sessions):
        if payload and len(payload) + 1 + len(session) > MAX_PAYLOAD:
            yield payload
            payload = ""
        payload = f"{payload},{session}" if payload else session
    if payload:
        yield payload


def _sessions(payload: str) -> list[int]:
    return [int(part) for part in payload.split(",") if part.isdigit()]
