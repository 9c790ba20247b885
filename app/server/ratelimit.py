"""Rate limits: a token bucket for each client, which is an address or an access key."""

import math
from collections import OrderedDict
from time import monotonic_ns

from app.errors import TooManyRequests

_MAX_CLIENTS = 65_536  # the least recently seen client is dropped first
_SECOND = 1_000_000_000  # ns


class RateLimiter:
    """Token buckets in memory: `burst` requests at once for each client, refilled at `rps` a second."""

    def __init__(self, rps: int, burst: int) -> None:
        self._refill = _SECOND // rps  # for one request, in ns
        self._capacity = self._refill * burst
        self._full_at: OrderedDict[str, int] = OrderedDict()  # when each client's bucket will be full again

    async def check(self, client: str) -> None:
        """Count one request of a client; raise `TooManyRequests` if its bucket is empty."""
        now = monotonic_ns()
        full_at = max(now, self._full_at.get(client, 0)) + self._refill
        if (wait := full_at - now - self._capacity) > 0:
            raise TooManyRequests(max(1, math.ceil(wait / _SECOND)))
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > _MAX_CLIENTS:
            self._full_at.popitem(last=False)
