"""When sessions run: slots bound how many do at once."""

import asyncio
import math


class SessionSlots:
    """Slots for running sessions; `limit` None: as many as there are sessions.

    A session holds a slot from before its workspace is made until its agent has stopped. Sessions that wait get theirs
    in the order of their requests.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = math.inf if limit is None else limit
        self._holders: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def restore(self, session: int) -> None:
        """Give a slot to a session that is running already, even beyond the limit."""
        self._holders.add(session)

    def try_acquire(self, session: int) -> bool:
        """Return whether the session holds a slot or gets one without waiting."""
        if session not in self._holders and not self._waiting and len(self._holders) < self._limit:
            self._holders.add(session)
        return session in self._holders

    async def acquire(self, session: int) -> None:
        """Wait until the session holds a slot.

        If the caller is cancelled, the session may hold one nevertheless, so that `release` has to be called.
        """
        if session in self._holders:
            return
        granted = self._waiting[session] = asyncio.get_running_loop().create_future()
        self._grant()
        try:
            await granted
        finally:
            self._waiting.pop(session, None)

    def release(self, session: int) -> None:
        """Pass the session's slot, if it holds one, to the next that waits."""
        self._holders.discard(session)
        self._grant()

    def _grant(self) -> None:
        while self._waiting and len(self._holders) < self._limit:
            session = next(iter(self._waiting))
            granted = self._waiting.pop(session)
            if not granted.done():
                self._holders.add(session)
                granted.set_result(None)
