"""GET /health, /ready and /metrics."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import MethodNotAllowed, NotReady
from app.observability.metrics import Metrics

READY_SECONDS = 5.0


_OWN_METHODS = "GET, HEAD, OPTIONS"


Ready = Callable[[], Awaitable[None]]


class OperationalRoutes:
    """GET /health, /ready and /metrics: for probes and scrapers, outside of the API."""

    paths = frozenset({"/health", "/ready", "/metrics"})

    def __init__(self, metrics: Metrics, ready: Ready) -> None:
        self.metrics = metrics
        self.ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for one of the paths."""
        scope["operation_id"] = scope["path"][1:]
        response = await self._respond(scope)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope) -> Response:
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"allow": _OWN_METHODS})
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(_OWN_METHODS)
        match scope["path"]:
            case "/health":
                return Response(b'{"status":"ok"}', media_type="application/json")
            case "/ready":
                await self._check_ready()
                return Response(b'{"status":"ready"}', media_type="application/json")
            case _:
                content_type, body = await self.metrics.export(Headers(scope=scope).get("accept", ""))
                return Response(body, headers={"content-type": content_type})

    async def _check_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.ready()
        except Exception as error:
            raise NotReady from error
