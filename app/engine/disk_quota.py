"""The disk that sessions take: their workspaces, unless in place, and their homes, against the bounds of the server.

It is measured by looking at each file: before and after each run, during a run the more often the less that costs, and
now and then as long as the session has an agent. Files that clients write in between are added.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress

import msgspec

from app.disk_usage import TooDeep, disk_usage
from app.engine.config import EngineConfig
from app.errors import StorageUnavailable, WorkspaceQuotaExceeded
from app.store.database import Database
from app.store.leases import LeaseLost, SessionGone
from app.store.quotas import Quotas
from app.store.sessions import SessionRow, add_disk_usage, set_disk_usage
from app.waiting import is_set_within

FEWEST_SECONDS, MOST_SECONDS = 2.0, 30.0
_SHARE = 0.005
"""The part of the time that may be spent on measuring one session, unless MOST_SECONDS are over."""


class DiskQuota:
    """Measures sessions, and says how much more of the disk they may take."""

    def __init__(self, database: Database, config: EngineConfig, quotas: Quotas) -> None:
        self._database = database
        self._config = config
        self._quotas = quotas

    async def measure(self, session: SessionRow) -> SessionRow:
        """Return a session as it is measured now, and store that. A tree that is too deep takes all that it may."""
        root, workspace = self._config.workspace(session), session.workspace_bytes
        try:
            home = await asyncio.to_thread(disk_usage, self._config.home(session))
            if root.is_relative_to(self._config.directory):
                workspace = await asyncio.to_thread(disk_usage, root)
            total = home + (workspace or 0)
        except TooDeep:
            total = self._quotas.limits.max_workspace_bytes or session.disk_bytes
        if (workspace or 0, total) == (session.workspace_bytes or 0, session.disk_bytes):
            return session
        await self._database.write_until_stored(set_disk_usage, session.row_id, workspace, total)
        return msgspec.structs.replace(session, workspace_bytes=workspace, disk_bytes=total)

    async def watch(self, session: SessionRow, exceeded: Callable[[], Awaitable[None]], has_run: asyncio.Event) -> None:
        """Measure a session again and again, and call `exceeded` while it takes too much.

        Where it is the project that takes too much, only if the session has grown. While `has_run` is not set, that is
        every MOST_SECONDS: there may be hundreds of agents that wait for their next run.
        """
        begin = session.disk_bytes
        try:
            while True:
                began = time.monotonic()
                with suppress(StorageUnavailable):  # it may be there again the next time
                    session = await self.measure(session)
                    room = await self._quotas.room(session.project)
                    has_grown = session.disk_bytes > begin
                    if room.workspace_bytes(session.disk_bytes) == 0 or (has_grown and room.disk_bytes(0) == 0):
                        await exceeded()
                cost = time.monotonic() - began
                pause = min(max(cost / _SHARE, FEWEST_SECONDS), MOST_SECONDS)
                await asyncio.sleep(pause)
                await is_set_within(has_run, MOST_SECONDS - pause)
        except (LeaseLost, SessionGone):  # another worker goes on, or nobody has to
            pass

    async def require(self, session: SessionRow, size: int = 1) -> int | None:
        """Return how many bytes may be written, at least `size`; None if there is no bound.

        Raises `WorkspaceQuotaExceeded`, but measures again before.
        """
        room = await self._quotas.room(session.project)
        left = room.disk_bytes(session.disk_bytes)
        if left is not None and left < size:
            left = room.disk_bytes((await self.measure(session)).disk_bytes)
            if left is not None and left < size:
                raise WorkspaceQuotaExceeded
        return left

    async def limit(self, session: SessionRow, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield what a client writes, and count it; `WorkspaceQuotaExceeded` once that is more than is left."""
        left, size = await self.require(session), 0
        async for chunk in content:
            size += len(chunk)
            if left is not None and size > left:
                left = await self.require(session, size)
            yield chunk
        await self._database.write(add_disk_usage, session.row_id, size)
