"""Rate limit per client."""

import math
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

from throttled import MemoryStore, RateLimiterType, Throttled, per_sec

from app.errors import TooManyRequests
from app.server.client_address import parse_address

_MAX_CLIENTS = 65_536  # about 30 MB when full; the least recently seen client makes room


class RateLimiter:
    """A token bucket per client, in memory: `burst` requests at once, refilled at `rps` a second."""

    def __init__(self, rps: int, burst: int) -> None:
        # GCRA is the token bucket reckoned with one instant per client; the library's class of that name counts in
        # whole seconds of the wall clock.
        self._buckets = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_sec(rps, burst=burst),
            store=MemoryStore(options={"MAX_SIZE": _MAX_CLIENTS}),
        ).limiter

    def check(self, client: str) -> None:
        """Count one request of `client`, raise TooManyRequests if it was one too many."""
        result = self._buckets.limit(_bucket(client))
        if result.limited:
            raise TooManyRequests(max(1, math.ceil(result.state.retry_after)))


@lru_cache(maxsize=4096)
def _bucket(client: str) -> str:
    """Who shares a bucket: one IPv4 address, or one IPv6 /64, since a single host owns all of it."""
    address = parse_address(client)
    return str(IPv6Network((int(address), 64), strict=False)) if isinstance(address, IPv6Address) else client
