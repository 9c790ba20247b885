"""A whole log of the platform, read at once and held in memory for those who follow it."""

import asyncio
from collections.abc import Sequence

import msgspec

from app.agui.events import Event, decode
from app.agui.prefix import LogPrefix
from app.backends.ambient.log_reader import LogReader
from app.models.caller import Caller
from app.models.sessions import SessionStatus

ALIVE = frozenset({SessionStatus.RUNNING, SessionStatus.STOPPING})
"""The states in which runs of a session go on."""


class LogSnapshot(msgspec.Struct, frozen=True):
    """A whole log as one reading found it, and the session's status then.

    By `prefix` the next reading recognizes the log; a short log has none.
    """

    status: SessionStatus | None = None
    prefix: LogPrefix | None = None
    events: Sequence[Event] = ()

    @property
    def alive(self) -> bool:
        """Return whether runs of the session can go on."""
        return self.status in ALIVE


async def read_log(logs: LogReader, caller: Caller, session_id: str, known: LogSnapshot) -> LogSnapshot:
    """Return the log as it is now; only what was appended to the `known` one is decoded."""
    update = await logs.update(caller, session_id, known.prefix)
    before = known.events if update.appended else ()
    new = await asyncio.to_thread(lambda: list(decode(update.entries, first=len(before) + 1)))
    return LogSnapshot(prefix=update.prefix, events=[*before, *new] if new else before)
