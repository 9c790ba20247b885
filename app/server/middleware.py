"""The outermost middleware: everything around a request that does not depend on its operation.

One layer does it all, since each further ASGI layer would read the headers and wrap `send` once more.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from time import perf_counter

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import HeadersTooLarge, MethodNotAllowed
from app.observability.audit import AuditLog
from app.observability.logs import REQUEST_ID
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.server.compression import Compression
from app.server.connections import Connections, client_of, within_descriptors
from app.server.cors import VARY, Cors
from app.server.error_response import STANDARD_HEADERS, error_response, to_api_error
from app.server.health import OperationalRoutes, Ready
from app.server.ratelimit import RateLimiter
from app.server.request import MAX_HEAD_BYTES, ClientDisconnected, RequestContext, lingering_close
from app.settings import Settings

CLIENT_CLOSED_REQUEST = 499  # how log and metrics call a request whose client did not wait for the response

_BOUND = {429, 507}  # statuses of requests that exceed a bound
_REFUSED = {401, 403, 429, 507}  # statuses that the audit log has of every request
_SAFE = {"GET", "HEAD", "OPTIONS"}  # methods that change nothing
_METHODS = _SAFE | {"DELETE", "PATCH", "POST", "PUT"}
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
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        metrics: Metrics,
        ready: Ready,
        limiter: RateLimiter | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`limiter` is that of addresses; without one, the server has its own."""
        self._app = app
        self._compression = Compression(app)
        self._operational = OperationalRoutes(metrics, ready)
        self._metrics = metrics
        self._tracing = tracing
        self._trusted_proxies = settings.trusted_proxies
        self._cors = Cors(settings.cors_allowed_origins)
        self._limiter = limiter or RateLimiter(settings.rate_limit_rps, settings.rate_limit_burst)
        total = within_descriptors(settings.max_connections)
        self.connections = Connections(
            total,
            # Where descriptors are scarce, no address gets all of them.
            settings.max_connections_per_address if total == settings.max_connections else total * 3 // 4,
            trusted_proxies=settings.trusted_proxies,
            refused=metrics.refused,
        )
        metrics.watch("http_connections", "Open connections.", lambda: len(self.connections))
        target = settings.audit_log
        self._audit_log = None if target is None else AuditLog(target, addresses=settings.audit_addresses)
        self._logs_requests = settings.log_level in {"debug", "info"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the app's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, self._flush_on_shutdown(send))
            return
        started = perf_counter()
        context = RequestContext.attach(scope, self._trusted_proxies)
        response = ResponseRecorder(send, context.request_id, lambda status: self._audit(context, status))
        context.foreign = self._cors.is_foreign(context)
        REQUEST_ID.set(context.request_id)
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
            await (await self._route(context))(scope, receive, send)
        except ClientDisconnected:
            return
        except (Exception, asyncio.CancelledError) as error:
            if response.started:
                raise
            shown = to_api_error(error)
            if shown.http_status in _BOUND:
                self._metrics.refused(shown.code)
            context.error_code = shown.code
            status, headers, body = error_response(shown, context.request_id)
            if status == MethodNotAllowed.status:
                headers.setdefault("Allow", context.allow)  # the platform's own 405 does not name the methods
            await Response(body, status, headers)(scope, _receive_nothing, send)

    async def _route(self, context: RequestContext) -> ASGIApp:
        """Return the app that serves a request; raise `HeadersTooLarge` or `TooManyRequests`."""
        if context.head_bytes > MAX_HEAD_BYTES:
            raise HeadersTooLarge
        if context.path in self._operational.paths:
            return self._operational
        await self._limiter.check(client_of(context.client_address))
        if "accept-encoding" in context.headers:
            return self._compression.preferred(context.combined("accept-encoding"))
        return self._app

    def _report(self, context: RequestContext, response: "ResponseRecorder", seconds: float) -> None:
        """Count and log a finished request."""
        if not response.started:
            self._audit(context, response.status)
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

    def _audit(self, context: RequestContext, status: int) -> None:
        """Note a request that has changed something, or may have, or that was refused."""
        if self._audit_log is None:
            return
        if status not in _REFUSED:
            has_changed = status < 300 or status >= CLIENT_CLOSED_REQUEST  # noqa: PLR2004 - a success, or unknown
            if not has_changed or context.operation_id is None or context.method in _SAFE:
                return
        self._audit_log.record(
            operation=context.operation_id,
            method=context.method if context.method in _METHODS else None,
            status=status,
            code=context.error_code,
            project=context.project,
            session=context.session,
            caller=context.caller,
            address=context.client_address,
            request_id=context.request_id,
        )

    def _flush_on_shutdown(self, send: Send) -> Send:
        """Return the `send` of a lifespan that writes the remaining spans and audit entries before the server stops."""

        async def flushing_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                if self._audit_log:
                    self._audit_log.flush()
                if self._tracing:
                    await asyncio.to_thread(self._tracing.close)
            await send(message)

        return flushing_send


class ResponseRecorder:
    """The `send` of one request: adds `headers` and the standard ones to the response, and records its outcome.

    `size` is in bytes of the body. `complete` is true once all of the response has been sent.
    """

    __slots__ = ("_begin", "_send", "complete", "headers", "size", "started", "status")

    def __init__(self, send: Send, request_id: str, begin: Callable[[int], None]) -> None:
        """`begin` is called with the status when the response begins."""
        self._send = send
        self._begin = begin
        self.headers = [(b"x-request-id", request_id.encode("ascii"))]
        self.started = self.complete = False
        self.status = CLIENT_CLOSED_REQUEST
        self.size = 0

    async def send(self, message: Message) -> None:
        """Send the next part of the response."""
        self.started = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._begin(self.status)
            own = message.get("headers", ())
            names = {name.lower() for name, _ in own}
            standard = [header for header in _STANDARD_HEADERS if header[0] not in names]
            message = {**message, "headers": [*own, *self.headers, *standard]}
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
