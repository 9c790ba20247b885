"""The outermost middleware: everything around a request that does not depend on its operation.

One layer does it all, since each further ASGI layer would read the headers and wrap `send` once more.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from time import perf_counter

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import HeadersTooLarge, MethodNotAllowed
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.server.body import ClientDisconnected, lingering_close
from app.server.compression import Compression
from app.server.context import MAX_HEAD_BYTES, RequestContext
from app.server.cors import VARY, Cors
from app.server.error_response import STANDARD_HEADERS, error_response, to_api_error
from app.server.health import OperationalRoutes, Ready
from app.server.ratelimit import RateLimiter
from app.settings import Settings

CLIENT_CLOSED_REQUEST = 499  # how log and metrics call a request whose client did not wait for the response

_LOGGED_PATH = 256  # characters
_STANDARD_HEADERS = [(name.encode(), value.encode()) for name, value in STANDARD_HEADERS.items()]
_NO_SPAN = nullcontext()

log = structlog.get_logger()


class RequestMiddleware:
    """An app with everything around its requests: ids, limits, CORS, compression, errors as JSON, logs, metrics, spans.

    `/health`, `/ready` and `/metrics` are served here; `ready` returns if sessions can be served and raises otherwise.
    The app finds the request in `RequestContext.of(scope)`.
    """

    def __init__(
        self, app: ASGIApp, *, settings: Settings, metrics: Metrics, ready: Ready, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._compression = Compression(app)
        self._operational = OperationalRoutes(metrics, ready)
        self._metrics = metrics
        self._tracing = tracing
        self._trusted_proxies = settings.trusted_proxies
        self._cors = Cors(settings.cors_allowed_origins)
        self._limiter = RateLimiter(settings.rate_limit_rps, settings.rate_limit_burst)
        self._logs_requests = settings.log_level in {"debug", "info"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the app's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, self._flush_spans_on_shutdown(send))
            return
        started = perf_counter()
        context = RequestContext.attach(scope, self._trusted_proxies)
        response = ResponseRecorder(send, context.request_id)
        structlog.contextvars.bind_contextvars(request_id=context.request_id)
        try:
            with _span(self._tracing, context, response) if self._tracing else _NO_SPAN:
                await self._respond(scope, receive, context, response)
        finally:
            self._report(context, response, perf_counter() - started)

    async def _respond(
        self, scope: Scope, receive: Receive, context: RequestContext, response: "ResponseRecorder"
    ) -> None:
        """Send a response whatever happens; raise once its head is sent, so that the connection is closed.

        A client must not take a response that broke off for a complete one.
        """
        send: Send = response.send
        if (origin := context.headers.get("origin")) is not None:
            if context.method == "OPTIONS" and (preflight := self._cors.preflight(Headers(scope=scope))):
                await preflight(scope, receive, send)
                return
            response.headers += self._cors.headers(origin)
        response.headers.append(VARY)
        if context.body_pending:
            receive, send = lingering_close(context, receive, send)
        try:
            await self._route(context)(scope, receive, send)
        except ClientDisconnected:
            return
        except (Exception, asyncio.CancelledError) as error:
            if response.started:
                raise
            status, headers, body = error_response(to_api_error(error), context.request_id)
            if status == MethodNotAllowed.status:
                headers.setdefault("Allow", context.allow)  # the platform's own 405 does not name the methods
            await Response(body, status, headers)(scope, _receive_nothing, send)

    def _route(self, context: RequestContext) -> ASGIApp:
        """Return the app that serves a request; raise `HeadersTooLarge` or `TooManyRequests`."""
        if context.head_bytes > MAX_HEAD_BYTES:
            raise HeadersTooLarge
        if context.path in self._operational.paths:
            return self._operational
        self._limiter.check(context.client_address)
        if "accept-encoding" in context.headers:
            return self._compression.preferred(context.combined("accept-encoding"))
        return self._app

    def _report(self, context: RequestContext, response: "ResponseRecorder", seconds: float) -> None:
        """Count and log a finished request."""
        self._metrics.request(context.operation_id, context.method, response.status, seconds)
        if self._logs_requests:
            log.info(
                "request",
                method=context.method,
                path=context.path[:_LOGGED_PATH],
                operation=context.operation_id,
                status=response.status,
                duration_ms=round(seconds * 1000, 2),
                bytes=response.size,
                client=context.client_address,
                **({} if response.complete else {"incomplete": True}),
            )

    def _flush_spans_on_shutdown(self, send: Send) -> Send:
        """Return the `send` of a lifespan that exports the remaining spans before the server stops."""

        async def flushing_send(message: Message) -> None:
            if self._tracing and message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._tracing.close)
            await send(message)

        return flushing_send


class ResponseRecorder:
    """The `send` of one request: adds `headers` and the standard ones to the response, and records its outcome.

    `size` is in bytes of the body. `complete` is true once all of the response has been sent.
    """

    __slots__ = ("_send", "complete", "headers", "size", "started", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.headers = [(b"x-request-id", request_id.encode("ascii"))]
        self.started = self.complete = False
        self.status = CLIENT_CLOSED_REQUEST
        self.size = 0

    async def send(self, message: Message) -> None:
        """Send the next part of the response."""
        self.started = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *self.headers]
            names = {name.lower() for name, _ in headers}
            headers += [header for header in _STANDARD_HEADERS if header[0] not in names]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)


@contextmanager
def _span(tracing: Tracing, context: RequestContext, response: ResponseRecorder) -> Iterator[None]:
    """Trace the block as this request."""
    with tracing.request(context.method, context.path, context.headers) as span:
        try:
            yield
        finally:
            span.update_name(f"{context.method} {context.operation_id or 'none'}")
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("client.address", context.client_address)


async def _receive_nothing() -> Message:
    return {"type": "http.disconnect"}
