"""The outermost ASGI layers: request id, log, metrics, CORS, errors as JSON, limits, and the server's own routes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext
from secrets import token_hex
from time import perf_counter

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError, HeadersTooLarge, InternalError, MethodNotAllowed, NotReady
from app.limits import ClientDisconnected, Farewell, RateLimiter, client_address
from app.settings import Network, Settings
from app.telemetry import Metrics, Tracing

MAX_HEADER_BYTES = 65_536
READY_SECONDS = 5.0
CLIENT_CLOSED_REQUEST = 499  # what the log and the metrics call a request that nobody waits for

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_OWN_METHODS = "GET, HEAD, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "Last-Event-ID",
    "Traceparent",
    "X-Ambient-Project",
    "X-Request-ID",
)
_RESPONSE_HEADERS = ("Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed")

log = structlog.get_logger()

Ready = Callable[[], Awaitable[None]]


def wrap(
    app: ASGIApp, *, settings: Settings, metrics: Metrics, ready: Ready, tracing: Tracing | None = None
) -> ASGIApp:
    """`app` behind the edge. `ready` returns when sessions can be served and raises otherwise.

    The app puts `operation_id` into the scope it is given once it knows it, and finds `request_id` and `client` there.
    """
    own = OwnRoutes(app, metrics=metrics, ready=ready)
    limited = Limits(own, limiter=RateLimiter(settings.rate_limit_rps, settings.rate_limit_burst))
    answered = Farewell(Errors(limited))
    shared = Cors(answered, settings.cors_allowed_origins)
    return Observed(shared, metrics=metrics, tracing=tracing, trusted=settings.trusted_proxies)


def error_response(error: ApiError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and JSON body of an error's answer."""
    # A lone surrogate in a message is not UTF-8; the answer must not fail because of it.
    message = error.message.encode("utf-8", "replace").decode()
    content: dict[str, object] = {"error": message, "code": error.code, "request_id": request_id}
    if error.details:
        content["details"] = error.details
    body = msgspec.json.encode(content)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    return error.http_status, headers, body


class Observed:
    """Gives each request an id, and says afterwards what became of it: one log line, metrics, a span."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing | None, trusted: Collection[Network]
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.tracing = tracing
        self.trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self.app(scope, receive, self._last_act(send))
            return
        started = perf_counter()
        request_id = scope["request_id"] = _request_id(scope)
        scope["client_address"] = client_address(scope, self.trusted)
        status, size, whole = CLIENT_CLOSED_REQUEST, 0, False

        async def observed_send(message: Message) -> None:
            nonlocal status, size, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        method, path = scope["method"], scope["path"]
        span = self.tracing.request(method, path, Headers(scope=scope)) if self.tracing else nullcontext()
        try:
            with span as current:
                try:
                    await self.app(scope, receive, observed_send)
                finally:
                    if current:
                        current.update_name(f"{method} {scope.get('operation_id', 'none')}")
                        current.set_attribute("http.response.status_code", status)
                        current.set_attribute("client.address", scope["client_address"])
        finally:
            seconds = perf_counter() - started
            operation = scope.get("operation_id")
            self.metrics.request(operation, method, status, seconds)
            log.info(
                "request",
                method=method,
                path=path[:256],
                operation=operation,
                status=status,
                duration_ms=round(seconds * 1000, 2),
                bytes=size,
                client=scope["client_address"],
                **({} if whole else {"cut": True}),
            )

    def _last_act(self, send: Send) -> Send:
        """`send` of the lifespan that puts out the remaining spans before the server hears that all is done."""

        async def flushing_send(message: Message) -> None:
            if self.tracing and message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self.tracing.close)
            await send(message)

        return flushing_send


class Cors(CORSMiddleware):
    """Starlette's CORS, but an unlisted origin is served as if it had sent none, and a preflight never fails."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        hosts = (re.escape(origin).replace(r"\*", "[a-z0-9._-]+") for origin in origins)
        super().__init__(
            app,
            allow_origin_regex="|".join(hosts) or "(?!)",
            allow_methods="*",
            allow_headers=_REQUEST_HEADERS,
            allow_credentials=True,
            expose_headers=_RESPONSE_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")
        if origin is not None and self.is_allowed_origin(origin):
            await super().__call__(scope, receive, send)
            return

        async def varying_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"vary", b"Origin")]}
            await send(message)

        await self.app(scope, receive, varying_send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """What is allowed, for the browser to judge."""
        allowed = super().preflight_response(request_headers).headers
        return Response(status_code=204, headers={name: allowed[name] for name in allowed if "content-" not in name})


class Errors:
    """The one place where an exception becomes an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; once its head is out an error cuts the connection, so that no part looks whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientDisconnected:
            return
        except (Exception, asyncio.CancelledError) as error:
            if begun:
                raise
            await _answer(_client_error(error), scope, send)


def _client_error(error: BaseException) -> ApiError:
    """What the client hears of `error`; what only the operator may hear is logged."""
    if isinstance(error, asyncio.CancelledError):
        # The server stops and has waited long enough: the client is told, and the task ends with its answer.
        return NotReady()
    if not isinstance(error, ApiError):
        log.error("unexpected error", exc_info=error)
        return InternalError()
    if error.http_status >= InternalError.status:
        log.warning("request failed", code=error.code, exc_info=error)
    return error


async def _answer(error: ApiError, scope: Scope, send: Send) -> None:
    status, headers, body = error_response(error, scope["request_id"])
    await Response(body, status, headers)(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class Limits:
    """Refuses heads that are too large and clients that are too quick."""

    def __init__(self, app: ASGIApp, *, limiter: RateLimiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the server's own routes are for operators and have no rate."""
        if scope["type"] == "http":
            if _header_bytes(scope) > MAX_HEADER_BYTES:
                raise HeadersTooLarge
            if scope["path"] not in OwnRoutes.paths:
                self.limiter.take(scope["client_address"])
        await self.app(scope, receive, send)


class OwnRoutes:
    """GET /health, /ready and /metrics: for probes and scrapers, outside of the API."""

    paths = frozenset({"/health", "/ready", "/metrics"})

    def __init__(self, app: ASGIApp, *, metrics: Metrics, ready: Ready) -> None:
        self.app = app
        self.metrics = metrics
        self.ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an own route, pass everything else on."""
        if scope["type"] != "http" or scope["path"] not in self.paths:
            await self.app(scope, receive, send)
            return
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
                content_type, body = self.metrics.export(Headers(scope=scope).get("accept", ""))
                return Response(body, headers={"content-type": content_type})

    async def _check_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.ready()
        except Exception as error:
            raise NotReady from error


def _header_bytes(scope: Scope) -> int:
    line = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    return line + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _request_id(scope: Scope) -> str:
    """The client's own id if it sent one that is well formed, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0].decode() if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else token_hex(16)
