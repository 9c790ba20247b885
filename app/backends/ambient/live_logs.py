"""The logs of the sessions that are followed at present."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec

from app.backends.ambient.api import PlatformApi
from app.backends.ambient.live_log import LiveLog
from app.backends.ambient.log_reader import LogReader, LogSnapshot, read_log
from app.backends.ambient.session_state import Runners, SessionState
from app.models.caller import Caller
from app.models.runs import RunSummary


class LiveLogs:
    """The followed logs of all sessions: one for each token, since a client may see only what its own is shown."""

    def __init__(self, platform: PlatformApi, logs: LogReader, runners: Runners, interval: float) -> None:
        self._platform = platform
        self._logs = logs
        self._runners = runners
        self._interval = interval
        self._live: dict[tuple[Caller, str], LiveLog] = {}

    async def read(self, caller: Caller, session_id: str) -> LogSnapshot:
        """Read the session and its log; `SessionNotFound`."""
        resource = await self._platform.get_session(caller, session_id)
        return await self.read_log(caller, session_id, SessionState.of(resource))

    async def read_log(self, caller: Caller, session_id: str, state: SessionState) -> LogSnapshot:
        """Read the log of a session that was found in this state."""
        live = self._live.get((caller, session_id))
        read = await read_log(self._logs, caller, session_id, live.last_reading if live else LogSnapshot())
        return msgspec.structs.replace(read, state=state)

    def summaries(self, caller: Caller, session_id: str) -> list[RunSummary] | None:
        """Return the runs of a session whose log is followed with the caller's token at present, else None."""
        live = self._live.get((caller, session_id))
        return live.summaries() if live and live.is_current else None

    @asynccontextmanager
    async def opened(self, caller: Caller, session_id: str, state: SessionState) -> AsyncGenerator[LiveLog, None]:
        """Yield the log of a session that was found in this state; it is read first unless it is followed anyway."""
        live = self._live.get((caller, session_id))
        known = live and live.is_current
        first = LogSnapshot(state) if known else await self.read_log(caller, session_id, state)
        with self.follow(caller, session_id, first) as live:
            yield live

    @contextmanager
    def follow(self, caller: Caller, session_id: str, first: LogSnapshot) -> Iterator[LiveLog]:
        """Yield the log of a session, which has just been read."""
        key = caller, session_id
        live = self._live.get(key)
        if live is None or live.failure:
            live = self._live[key] = LiveLog(
                self._platform, self._logs, self._runners, caller, session_id, interval=self._interval
            )
            live.start(first)
        live.users += 1
        try:
            yield live
        finally:
            live.users -= 1
            if not live.users:
                live.close()
                if self._live.get(key) is live:
                    del self._live[key]
