"""Rate limits: a token bucket for each client, which is an address or an access key."""

import math

from throttled import MemoryStore, RateLimiterType, Throttled, per_sec

from app.errors import TooManyRequests

_MAX_CLIENTS = 65_536  # about 30 MB when full; the least recently seen client is dropped first


class RateLimiter:
    """Token buckets in memory: `burst` requests at once for each client, refilled at `rps` a second."""

    def __init__(self, rps: int, burst: int) -> None:
        # GCRA is a token bucket that needs one instant for each client. The library's own class of that name counts in
        # whole seconds of the wall clock.
        self._buckets = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_sec(rps, burst=burst),
            store=MemoryStore(options={"MAX_SIZE": _MAX_CLIENTS}),
        ).limiter

    async def check(self, client: str) -> None:
        """Count one request of a client; raise `TooManyRequests` if its bucket is empty."""
        result = self._buckets.limit(client)
        if result.limited:
            raise TooManyRequests(max(1, math.ceil(result.state.retry_after)))
