"""Bounds on open connections: in all, and of each client address."""

import resource
from collections import Counter
from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Protocol

from app.server.request import parse_address
from app.setting_types import Network

UNBOUNDED = 2**31
_BACKLOG = 2048


STALL_SECONDS = 1.0
"""How long the body of a request may not have come on before its connection may be closed in favour of another."""


class Connection(Protocol):
    """A connection; `idle` while it serves no request, be it before the first, between two, or within a head."""

    @property
    def idle(self) -> bool:
        """Return whether no request is being served."""

    @property
    def stalled(self) -> float:
        """Return for how many seconds the server has waited for more of a request's body; 0 if it does not."""

    def abort(self) -> None:
        """Close the connection at once."""


class Connections:
    """All open connections of a server, at most `limit`, and at most `per_address` of one client.

    Where there would be one more, the one that was opened first among the idle ones is closed, or else the one whose
    request has stalled longest. So a client that opens many, and sends no request or none that is complete, locks
    nobody out. If there is neither, the new one is refused. Connections of trusted proxies have many clients behind
    them and count in all only. `refused` is called with the reason.
    """

    def __init__(
        self,
        limit: int = UNBOUNDED,
        per_address: int = UNBOUNDED,
        *,
        trusted_proxies: Collection[Network] = (),
        refused: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.limit, self.per_address = limit, per_address
        self._trusted_proxies = trusted_proxies
        self._refused = refused
        self._open: dict[Connection, str | None] = {}  # with its client, in the order in which they were opened
        self._counts: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, address: str) -> bool:
        """Count a new connection, which `release` ends; return False if it is refused."""
        client = None if self._is_trusted(address) else client_of(address)
        if client is not None and self._counts[client] >= self.per_address:
            admitted = self._make_room(client)
        else:
            admitted = len(self._open) < self.limit or self._make_room()
        if not admitted:
            self._refused("too_many_connections")
            return False
        self._open[connection] = client
        self._counts[client] += 1
        return True

    def release(self, connection: Connection) -> None:
        """Count a connection no more."""
        if connection not in self._open:
            return
        client = self._open.pop(connection)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]

    def _make_room(self, client: str | None = None) -> bool:
        candidates = (each for each, its_client in self._open.items() if client in {None, its_client})
        if idle := next((each for each in candidates if each.idle), None):
            return self._close(idle, "idle_connection_closed")
        candidates = (each for each, its_client in self._open.items() if client in {None, its_client})
        stalled = max(candidates, key=lambda each: each.stalled, default=None)
        if stalled and stalled.stalled >= STALL_SECONDS:
            return self._close(stalled, "stalled_connection_closed")
        return False

    def _close(self, connection: Connection, reason: str) -> bool:
        self.release(connection)
        connection.abort()
        self._refused(reason)
        return True

    def _is_trusted(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._trusted_proxies)


def within_descriptors(limit: int) -> int:
    """Return how many connections there may be: at most `limit`, and half of the file descriptors."""
    return max(1, min(limit, _descriptors() // 2))


def backlog() -> int:
    """Return how many connections may wait to be accepted.

    They may all be accepted before one of them, or another in its favour, is closed. So they need descriptors too.
    """
    return max(1, min(_BACKLOG, _descriptors() // 4))


def _descriptors() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if limit == resource.RLIM_INFINITY else limit


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Return the client of an address: an IPv4 address, or an IPv6 /64, since one host usually owns all of it."""
    parsed = parse_address(address)
    return str(IPv6Network((int(parsed), 64), strict=False)) if isinstance(parsed, IPv6Address) else address
