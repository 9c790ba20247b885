"""Expiry of interrupts: a run that waits for a decision which does not come in time continues with a denial."""

import asyncio
from collections.abc import Callable

from app.clock import now_ms
from app.store import approvals
from app.store.commands.approvals import expire_interrupts
from app.store.database import Database


class Expirations:
    """One task for each session whose waiting runs have a time limit; `wake` is called with those that go on."""

    def __init__(self, database: Database, wake: Callable[[int], None]) -> None:
        self._database = database
        self._wake = wake
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def watch(self, session: int) -> None:
        """Look for time limits in a session; to be called after a run of it has ended with interrupts."""
        self.forget(session)
        self._tasks[session] = asyncio.create_task(self._expire(session), name=f"expiry in session {session}")

    def forget(self, session: int) -> None:
        """Stop watching a session."""
        if task := self._tasks.pop(session, None):
            task.cancel()

    def close(self) -> None:
        """Stop watching all sessions; the next start watches them again."""
        for session in list(self._tasks):
            self.forget(session)

    async def _expire(self, session: int) -> None:
        try:
            while (next_expiry := await self._database.read(approvals.next_expiry, session)) is not None:
                await asyncio.sleep(max(0, next_expiry - now_ms()) / 1000)
                if await self._database.write_until_stored(expire_interrupts, session):
                    self._wake(session)
        finally:
            if self._tasks.get(session) is asyncio.current_task():
                del self._tasks[session]
