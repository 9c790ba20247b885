"""Following a session's log on the platform, which tells no news: read again and again, once for all who follow."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from app.backends.ambient import log, mapping
from app.backends.ambient.exports import Exports
from app.backends.ambient.log import Log
from app.backends.ambient.platform import Platform
from app.types import Caller, SessionStatus


class Watch:
    """One session's log as last read; every reading is published, whether it brings news or not."""

    def __init__(self, first: Log, read: Callable[[Log], Awaitable[Log]], interval: float) -> None:
        self.log = first
        self.followers = 0
        self.failure: Exception | None = None
        self._read = read
        self._interval = interval
        self._published = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    def publish(self, reading: Log) -> None:
        """Take a reading unless it is older than the last one."""
        if reading.begun > self.log.begun:
            self.log = reading
            self._wake()

    async def after(self, known: Log) -> Log:
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


class Watches:
    """The sessions that are followed, by token: what a client sees is what the platform shows to its own token."""

    def __init__(self, platform: Platform, exports: Exports, interval: float) -> None:
        self._platform = platform
        self._exports = exports
        self._interval = interval
        self._watches: dict[tuple[Caller, str], Watch] = {}

    async def read(self, caller: Caller, session_id: str) -> Log:
        """Read the log now; `SessionNotFound`."""
        watch = self._watches.get((caller, session_id))
        return await self._read(caller, session_id, watch.log if watch else Log())

    @contextmanager
    def follow(self, caller: Caller, session_id: str, first: Log) -> Iterator[Watch]:
        """The watch of a session whose log has just been read; it is read on while anybody follows."""
        key = caller, session_id
        watch = self._watches.get(key)
        if watch is None or watch.failure:
            watch = Watch(first, lambda known: self._read(caller, session_id, known), self._interval)
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

    async def _read(self, caller: Caller, session_id: str, known: Log) -> Log:
        begun = asyncio.get_running_loop().time()
        resource = await self._platform.get_session(caller, session_id)
        news = await self._exports.news(caller, session_id, known.prefix)
        return await asyncio.to_thread(
            log.extended,
            known.events if news.grown else (),
            news.entries,
            prefix=news.prefix,
            begun=begun,
            running=mapping.phase(resource) is SessionStatus.RUNNING,
        )
