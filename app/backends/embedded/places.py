"""Places for running sessions: a bounded number, given in the order in which they are asked for."""

import asyncio
import math
from collections.abc import Callable


class Places:
    """A session has a place from before its workspace is made until its agent has let go; `limit` None: no bound."""

    def __init__(self, limit: int | None) -> None:
        self._limit = math.inf if limit is None else limit
        self._taken: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def keep(self, session: int) -> None:
        """Give a session that runs already its place, even beyond the limit."""
        self._taken.add(session)

    async def take(self, session: int, tell: Callable[[str], None]) -> None:
        """Return once the session has a place; where it has to wait, `tell` is told so, and when it is over.

        A session that is cancelled meanwhile may have the place: `leave` is for that too.
        """
        if session in self._taken:
            return
        place = self._waiting[session] = asyncio.get_running_loop().create_future()
        self._admit()
        waits = not place.done()
        if waits:
            tell(f"waits for a place, MAX_RUNNING_SESSIONS is {self._limit}")
        try:
            await place
            if waits:
                tell("has a place")
        finally:
            self._waiting.pop(session, None)

    def leave(self, session: int) -> None:
        """Give the session's place, if it has one, to the next that waits."""
        self._taken.discard(session)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._taken) < self._limit:
            session = next(iter(self._waiting))
            place = self._waiting.pop(session)
            if not place.done():
                self._taken.add(session)
                place.set_result(None)
