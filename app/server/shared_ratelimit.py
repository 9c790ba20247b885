"""Rate limits that several servers share: each takes requests from a client's bucket in advance, a few at a time."""

import asyncio
import hashlib
import math
import time

import msgspec
import structlog

from app.errors import ApiError, TooManyRequests
from app.models.limits import Rate, TakeRequests
from app.server.ratelimit import RateLimiter

TAKES_PER_SECOND = 10
"""How often a server asks for a client that sends as many requests as it may."""
TAKE_SECONDS = 1.0
LEFT_SECONDS = 10.0
"""How long requests that were taken can be used."""
MAX_CLIENTS = 65_536
log = structlog.get_logger()


class _Taken(msgspec.Struct):
    """Requests that a client may still send here before a time, or that it may send none until then."""

    left: int
    until: float


class SharedRateLimiter(RateLimiter):
    """Token buckets in a store. While that is away, each server limits by itself: no request is refused for it."""

    def __init__(self, rps: int, burst: int, take: TakeRequests, *, kind: str) -> None:
        """`kind` tells clients apart that have the same name in another limiter."""
        super().__init__(rps, burst)
        self._rate = Rate(rps, burst)
        self._take = take
        self._kind = kind
        self._count = min(burst, max(1, rps // TAKES_PER_SECOND))
        self._taken: dict[str, _Taken] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._alone_until = -math.inf

    async def check(self, client: str) -> None:
        """See `RateLimiter`."""
        while (now := time.monotonic()) >= self._alone_until:
            taken = self._taken.get(client)
            if taken is None or taken.until <= now:
                await asyncio.shield(self._taking.get(client) or self._begin(client))
            elif taken.left:
                taken.left -= 1
                if not taken.left:
                    del self._taken[client]
                return
            else:
                raise TooManyRequests(max(1, math.ceil(taken.until - now)))
        await super().check(client)

    def _begin(self, client: str) -> "asyncio.Task[None]":
        task = self._taking[client] = asyncio.create_task(self._take_more(client))
        task.add_done_callback(lambda _task: self._taking.pop(client))
        return task

    async def _take_more(self, client: str) -> None:
        digest = hashlib.blake2b(f"{self._kind}:{client}".encode(), digest_size=16).digest()
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                taken = await self._take(digest, self._rate, self._count)
        except (ApiError, TimeoutError):
            log.warning("rates_unshared", exc_info=True)
            self._alone_until = time.monotonic() + TAKE_SECONDS
            return
        if len(self._taken) >= MAX_CLIENTS:
            self._taken.clear()
        until = time.monotonic() + (LEFT_SECONDS if taken.count else taken.wait)
        self._taken[client] = _Taken(taken.count, until)
