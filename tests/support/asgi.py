"""Requests to an ASGI app behind the request middleware, without a network."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.types import ASGIApp, Message

from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.server.middleware import RequestMiddleware
from app.server.request import ClientConnection, RequestContext
from app.setting_types import Network
from app.settings import Settings


def request_context(
    *headers: tuple[str, str],
    method: str = "GET",
    connection: ClientConnection | None = None,
    client: tuple[str, int] | None = ("198.51.100.7", 50000),
    trusted_proxies: Collection[Network] = (),
) -> RequestContext:
    """The context of a request for /."""
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "client": client,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"connection": connection},
    }
    return RequestContext(scope, trusted_proxies)


class Response:
    """The messages that the app sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, wanted: str) -> str | None:
        return ", ".join(v.decode() for n, v in self.messages[0]["headers"] if n.decode() == wanted) or None


class Client:
    """Requests to an app behind the request middleware."""

    def __init__(
        self,
        app: ASGIApp,
        ready: Callable[[], Awaitable[None]] | None = None,
        tracing: Tracing | None = None,
        **chosen: Any,
    ) -> None:
        self.metrics = Metrics()
        self.app = RequestMiddleware(
            app,
            settings=Settings(**{"audit_log": None, **chosen}),
            metrics=self.metrics,
            ready=ready or nothing,
            tracing=tracing,
        )

    async def request(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        body: bytes | None = b"",
        query: bytes = b"",
        peer: str = "192.0.2.1",
    ) -> Response:
        """The response; a body of None never comes."""
        response = Response()
        messages: list[Message] = [
            {"type": "http.request", "body": body, "more_body": False},
            {"type": "http.disconnect"},
        ]
        received = iter(messages)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "client": (peer, 5000),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        }

        async def receive() -> Message:
            if body is None:
                await asyncio.Event().wait()
            return next(received)

        await self.app(scope, receive, response.send)
        return response

    async def get(self, path: str, *headers: tuple[str, str], **options: Any) -> Response:
        return await self.request("GET", path, *headers, **options)


async def nothing() -> None:
    """Ready at once."""
