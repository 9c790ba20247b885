"""Polling of session logs for those who follow them: one poller for each session and token, however many follow."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from app.agui.events import Event, decode
from app.agui.prefix import LogPrefix
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.log_reader import LogReader
from app.models.caller import Caller
from app.models.sessions import SessionStatus


class LogSnapshot(msgspec.Struct, frozen=True):
    """A whole log as one reading found it, and whether the session was running.

    `started` is the event loop's time in seconds at which the reading started. By `prefix` the next reading recognizes
    the log; a short log has none.
    """

    started: float = -1.0
    running: bool = False
    prefix: LogPrefix | None = None
    events: Sequence[Event] = ()


def extend(
    known: Sequence[Event], raws: Sequence[msgspec.Raw], *, prefix: LogPrefix | None, started: float, running: bool
) -> LogSnapshot:
    """Return the snapshot of a log with these entries after the `known` events."""
    new_events = list(decode(raws, first=len(known) + 1))
    events = [*known, *new_events] if new_events else known
    return LogSnapshot(started=started, running=running, prefix=prefix, events=events)


class LogPoller:
    """Poller of one session's log, which publishes every reading, with or without new events."""

    def __init__(
        self, first: LogSnapshot, read: Callable[[LogSnapshot], Awaitable[LogSnapshot]], interval: float
    ) -> None:
        self.log = first
        self.followers = 0
        self.failure: Exception | None = None
        self._read = read
        self._interval = interval
        self._published = asyncio.Event()
        self._task = asyncio.create_task(self._poll())

    def publish(self, log: LogSnapshot) -> None:
        """Make a reading the current one, unless it started before that."""
        if log.started > self.log.started:
            self.log = log
            self._notify()

    async def after(self, known: LogSnapshot) -> LogSnapshot:
        """Wait for a reading later than `known` and return it; raise what has ended the polling."""
        while self.log.started <= known.started:
            if self.failure:
                raise self.failure
            await self._published.wait()
        return self.log

    def close(self) -> None:
        """Stop polling."""
        self._task.cancel()

    async def _poll(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._interval)
                self.publish(await self._read(self.log))
        except Exception as error:
            self.failure = error
            self._notify()

    def _notify(self) -> None:
        published, self._published = self._published, asyncio.Event()
        published.set()


class LogPollers:
    """The pollers of all followed sessions.

    There is one for each token, since a client may see only what the platform returns for its own.
    """

    def __init__(self, platform: PlatformApi, logs: LogReader, interval: float) -> None:
        self._platform = platform
        self._logs = logs
        self._interval = interval
        self._pollers: dict[tuple[Caller, str], LogPoller] = {}

    async def read(self, caller: Caller, session_id: str) -> LogSnapshot:
        """Read the log now; `SessionNotFound`."""
        poller = self._pollers.get((caller, session_id))
        return await self._read(caller, session_id, poller.log if poller else LogSnapshot())

    @contextmanager
    def follow(self, caller: Caller, session_id: str, first: LogSnapshot) -> Iterator[LogPoller]:
        """Yield the poller of a session whose log has just been read; it polls as long as anybody follows."""
        key = caller, session_id
        poller = self._pollers.get(key)
        if poller is None or poller.failure:
            poller = LogPoller(first, lambda known: self._read(caller, session_id, known), self._interval)
            self._pollers[key] = poller
        poller.publish(first)
        poller.followers += 1
        try:
            yield poller
        finally:
            poller.followers -= 1
            if not poller.followers:
                poller.close()
                if self._pollers.get(key) is poller:
                    del self._pollers[key]

    async def _read(self, caller: Caller, session_id: str, known: LogSnapshot) -> LogSnapshot:
        started = asyncio.get_running_loop().time()
        resource = await self._platform.get_session(caller, session_id)
        update = await self._logs.update(caller, session_id, known.prefix)
        return await asyncio.to_thread(
            extend,
            known.events if update.appended else (),
            update.entries,
            prefix=update.prefix,
            started=started,
            running=mapping.phase(resource) is SessionStatus.RUNNING,
        )
