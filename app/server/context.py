"""The context of one request: its head, its sender, and the operation that serves it."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from starlette.types import Scope

from app.errors import BadRequest, Detail
from app.settings import Network

MAX_HEAD_BYTES = 65_536  # of a request's target and headers
_KEY = "ambient.request"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class ClientConnection(Protocol):
    """The connection of a request, which the HTTP server puts into the scope's state as `connection`.

    `stopping` is set once the server shuts down. `request_complete` is true once the whole request has arrived.
    """

    stopping: asyncio.Event
    request_complete: bool

    def abort(self) -> None:
        """Close the connection at once and drop what has not been sent."""


class RequestContext:
    """One HTTP request: its head, read once, and facts that are added on the way to a response.

    `RequestMiddleware` attaches it to the ASGI scope, and everything below finds it there by `RequestContext.of`.
    The app that recognises the path sets `operation_id` and `allow`, the path's value of an `Allow` header.

    `headers` has the first value of each header, and `repeated` all values of those that were sent more than once.
    Names of headers are in lower case. `query` is still encoded. `head_bytes` is the size of target and headers.
    `body_pending` says that not all of the body came along with the head. `authorize_again` raises the error of a
    caller whose token is no longer valid; an operation sets it.
    """

    __slots__ = (
        "allow",
        "authorize_again",
        "body_pending",
        "client_address",
        "connection",
        "head_bytes",
        "headers",
        "method",
        "operation_id",
        "path",
        "query",
        "repeated",
        "request_id",
    )

    def __init__(self, scope: Scope, trusted_proxies: Collection[Network] = ()) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.head_bytes = len(scope["raw_path"]) + len(self.query)
        self.headers: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}
        for raw_name, raw_value in scope["headers"]:
            self.head_bytes += len(raw_name) + len(raw_value) + 4
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in self.headers:
                self.repeated.setdefault(name, [self.headers[name]]).append(value)
            else:
                self.headers[name] = value
        self.authorize_again: Callable[[], Awaitable[object]] | None = None
        self.connection: ClientConnection | None = scope.get("state", {}).get("connection")
        has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self.body_pending = has_body and not (self.connection and self.connection.request_complete)
        peer: str = scope["client"][0] if scope.get("client") else "unknown"
        self.client_address = self._forwarded_address(peer, trusted_proxies) if trusted_proxies else peer
        given = self.headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(given) or "x-request-id" in self.repeated:
            given = f"{random.getrandbits(128):032x}"  # it names a request and guards nothing
        self.request_id = given
        self.operation_id: str | None = None
        self.allow = ""

    @classmethod
    def attach(cls, scope: Scope, trusted_proxies: Collection[Network] = ()) -> "RequestContext":
        """Make the context of a new request and attach it to its scope."""
        context = scope[_KEY] = cls(scope, trusted_proxies)
        return context

    @staticmethod
    def of(scope: Scope) -> "RequestContext":
        """Return the context that is attached to a scope."""
        context: RequestContext = scope[_KEY]
        return context

    def combined(self, name: str) -> str:
        """Return all values of a header, whose name is given in lower case, as one comma-separated list."""
        return ",".join(self.repeated[name]) if name in self.repeated else self.headers.get(name, "")

    def reject_repeated(self, *names: str) -> None:
        """Raise `BadRequest` if one of these headers was sent more than once."""
        for name in names:
            if name.lower() in self.repeated:
                raise BadRequest(details=[Detail(f"header.{name}", "must be sent once")])

    def _forwarded_address(self, peer: str, trusted_proxies: Collection[Network]) -> str:
        """Return the address that trusted proxies name in X-Forwarded-For, else the peer's.

        Each proxy appends the address it was called from. So the list is read from its end, as long as the address
        reached so far is a trusted proxy; the header of an untrusted address is ignored.
        """
        forwarded = self.combined("x-forwarded-for").split(",")
        address = parse_address(peer)
        while forwarded and address is not None and any(address in network for network in trusted_proxies):
            before = parse_address(forwarded.pop().strip())
            if before is None:
                break
            address = before
        return str(address or peer)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address written with or without a port, or None. IPv4 mapped into IPv6 is returned as IPv4."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
