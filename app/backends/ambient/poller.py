"""A session's log as it was read at a time, for those who follow it."""

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
    """A log as it was read at a time: `begun` (of the event loop, s), its events, the session's state.

    `prefix` tells it from one that was rewritten since; a short one has none.
    """

    begun: float = -1.0
    running: bool = False
    prefix: LogPrefix | None = None
    events: Sequence[Event] = ()


def extended(
    known: Sequence[Event], raws: Sequence[msgspec.Raw], *, prefix: LogPrefix | None, begun: float, running: bool
) -> LogSnapshot:
    """The log that has these entries behind events that are known."""
    news = list(decode(raws, first=len(known) + 1))
    return LogSnapshot(begun=begun, running=running, prefix=prefix, events=[*known, *news] if news else known)


class LogPoller:
    """One session's log as last read; every reading is published, whether it brings news or not."""

    def __init__(
        self, first: LogSnapshot, read: Callable[[LogSnapshot], Awaitable[LogSnapshot]], interval: float
    ) -> None:
        self.log = first
        self.followers = 0
        self.failure: Exception | None = None
        self._read = read
        self._interval = interval
        self._published = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    def publish(self, reading: LogSnapshot) -> None:
        """Take a reading unless it is older than the last one."""
        if reading.begun > self.log.begun:
            self.log = reading
            self._wake()

    async def after(self, known: LogSnapshot) -> LogSnapshot:
        """The next reading after this one; raises why there will be none."""
        while self.log.begun <= known.begun:
            if self.failure:
                raise self.failure
            await self._published.wait()
        return self.log

    def close(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _work(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._interval)
                self.publish(await self._read(self.log))
        except Exception as error:
            self.failure = error
            self._wake()

    def _wake(self) -> None:
        published, self._published = self._published, asyncio.Event()
        published.set()


class LogPollers:
    """The sessions that are followed, by token: what a client sees is what the platform shows to its own token."""

    def __init__(self, platform: PlatformApi, exports: LogReader, interval: float) -> None:
        self._platform = platform
        self._exports = exports
        self._interval = interval
        self._watches: dict[tuple[Caller, str], LogPoller] = {}

    async def read(self, caller: Caller, session_id: str) -> LogSnapshot:
        """Read the log now; `SessionNotFound`."""
        watch = self._watches.get((caller, session_id))
        return await self._read(caller, session_id, watch.log if watch else LogSnapshot())

    @contextmanager
    def follow(self, caller: Caller, session_id: str, first: LogSnapshot) -> Iterator[LogPoller]:
        """The watch of a session whose log has just been read; it is read on while anybody follows."""
        key = caller, session_id
        watch = self._watches.get(key)
        if watch is None or watch.failure:
            watch = LogPoller(first, lambda known: self._read(caller, session_id, known), self._interval)
            self._watches[key] = watch
        watch.publish(first)
        watch.followers += 1
        try:
            yield watch
        finally:
            watch.followers -= 1
            if not watch.followers:
                watch.close()
                if self._watches.get(key) is watch:
                    del self._watches[key]

    async def _read(self, caller: Caller, session_id: str, known: LogSnapshot) -> LogSnapshot:
        begun = asyncio.get_running_loop().time()
        resource = await self._platform.get_session(caller, session_id)
        news = await self._exports.update(caller, session_id, known.prefix)
        return await asyncio.to_thread(
            extended,
            known.events if news.appended else (),
            news.entries,
            prefix=news.prefix,
            begun=begun,
            running=mapping.phase(resource) is SessionStatus.RUNNING,
        )
