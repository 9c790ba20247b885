"""The operational routes of a worker, which serves no API: /health, /ready and /metrics, without a token."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from app.errors import ApiError, NotReady
from app.observability.metrics import Metrics

READY_SECONDS = 5.0  # how long the worker may take to report that it is ready
CLOSE_SECONDS = 1.0


class HealthServer:
    """An HTTP server for probes and scrapers; `ready` returns if the worker takes sessions, else raises."""

    def __init__(self, metrics: Metrics, ready: Callable[[], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._ready = ready
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._check_ready)
        app.router.add_get("/metrics", self._export)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)

    async def open(self, host: str, port: int) -> None:
        """Listen; `OSError`."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        """End all requests."""
        await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _check_ready(self, _request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready()
        except (ApiError, TimeoutError) as error:
            shown = error if isinstance(error, NotReady) else NotReady()
            return _json({"error": shown.message, "code": shown.code}, shown.http_status)
        return _json({"status": "ready"})

    async def _export(self, request: web.Request) -> web.Response:
        content_type, body = await self._metrics.export(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
