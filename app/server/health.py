"""The operational routes: GET /health, /ready and /metrics."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import MethodNotAllowed, NotReady
from app.observability.metrics import Metrics
from app.server.request import RequestContext

READY_SECONDS = 5.0  # how long the backend may take to report that it is ready

Ready = Callable[[], Awaitable[None]]
"""Return if sessions can be served, else raise."""

_ALLOW = "GET, HEAD, OPTIONS"


class OperationalRoutes:
    """Routes for probes and scrapers: outside of the API, without a token or a rate limit."""

    paths = frozenset({"/health", "/ready", "/metrics"})

    def __init__(self, metrics: Metrics, ready: Ready) -> None:
        self._metrics = metrics
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request for one of `paths`."""
        context = RequestContext.of(scope)
        context.operation_id = context.path[1:]
        response = await self._respond(context)
        await response(scope, receive, send)

    async def _respond(self, context: RequestContext) -> Response:
        if context.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": _ALLOW})
        if context.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(_ALLOW)
        match context.path:
            case "/health":
                return Response(b'{"status":"ok"}', media_type="application/json")
            case "/ready":
                await self._check_ready()
                return Response(b'{"status":"ready"}', media_type="application/json")
            case _:
                content_type, body = await self._metrics.export(context.headers.get("accept", ""))
                return Response(body, headers={"content-type": content_type})

    async def _check_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready()
        except NotReady:
            raise  # with a reason that the operator may read
        except Exception as error:
            raise NotReady from error
