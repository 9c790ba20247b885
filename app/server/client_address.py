"""The address of a client, behind trusted proxies too."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from app.settings import Network


def client_address(scope: Scope, trusted: Collection[Network]) -> str:
    """The address that a request comes from: the peer, or what trusted proxies say in X-Forwarded-For.

    The header is read from the right, past proxies in `trusted`; what an untrusted address says is not believed.
    """
    peer: str = scope["client"][0] if scope.get("client") else "unknown"
    if not trusted:
        return peer
    named = [
        part.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
    ]
    address = parse_address(peer)
    while named and address is not None and any(address in network for network in trusted):
        before = parse_address(named.pop())
        if before is None:
            break
        address = before
    return str(address or peer)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port, an IPv4 one inside an IPv6 one taken out; None if it is none."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
