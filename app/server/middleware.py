"""The edge: request id, log, metrics, CORS, errors as JSON, limits, and the server's own routes."""

import asyncio
import random
import re
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError, HeadersTooLarge, InternalError, MethodNotAllowed, NotReady
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.server.body import ClientDisconnected, announces_body, is_complete, lingering_close
from app.server.client_address import client_address
from app.server.compression import Compressed
from app.server.context import Request
from app.server.cors import Cors
from app.server.error_response import MAX_HEADER_BYTES, error_response
from app.server.health import OperationalRoutes, Ready
from app.server.ratelimit import RateLimiter
from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CLIENT_CLOSED_REQUEST = 499  # what the log and the metrics call a request that nobody waits for

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


_NO_SPAN = nullcontext()
_WITH_REQUESTS = ("debug", "info")  # the levels that show a line for each request

log = structlog.get_logger()


def install(
    app: ASGIApp, *, settings: Settings, metrics: Metrics, ready: Ready, tracing: Tracing | None = None
) -> ASGIApp:
    """`app` behind the edge. `ready` returns when sessions can be served and raises otherwise.

    The app puts `operation_id` and `allow`, the methods of its path, into the scope it is given once it knows them, and
    finds `request_id`, `client_address` and, as `head`, the `Request` there.
    """
    return RequestMiddleware(
        Compressed(app), settings=settings, metrics=metrics, own=OperationalRoutes(metrics, ready), tracing=tracing
    )


class RequestMiddleware:
    """One request after another: each gets an id, an answer whatever happens, one log line, metrics, a span."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, metrics: Metrics, own: "OperationalRoutes", tracing: Tracing | None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._operational = own
        self._tracing = tracing
        self._trusted = settings.trusted_proxies
        self._cors = Cors(settings.cors_allowed_origins)
        self._logs_requests = settings.log_level in _WITH_REQUESTS
        self._limiter = RateLimiter(settings.rate_limit_rps, settings.rate_limit_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, self._flush_spans_on_shutdown(send))
            return
        started = perf_counter()
        request = scope["head"] = Request(scope)
        request_id = scope["request_id"] = _request_id(request)
        client = scope["client_address"] = client_address(scope, self._trusted)
        answer = ResponseRecorder(send, request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        method, path = scope["method"], scope["path"]
        try:
            with self._span(scope) as span:
                try:
                    await self._serve(scope, request, receive, answer)
                finally:
                    if span:
                        span.update_name(f"{method} {scope.get('operation_id', 'none')}")
                        span.set_attribute("http.response.status_code", answer.status)
                        span.set_attribute("client.address", client)
        finally:
            seconds = perf_counter() - started
            operation = scope.get("operation_id")
            self._metrics.request(operation, method, answer.status, seconds)
            if self._logs_requests:
                log.info(
                    "request",
                    method=method,
                    path=path[:256],
                    operation=operation,
                    status=answer.status,
                    duration_ms=round(seconds * 1000, 2),
                    bytes=answer.size,
                    client=client,
                    **({} if answer.whole else {"cut": True}),
                )

    def _span(self, scope: Scope) -> AbstractContextManager["Span | None"]:
        if self._tracing is None:
            return _NO_SPAN
        return self._tracing.request(scope["method"], scope["path"], Headers(scope=scope))

    async def _serve(self, scope: Scope, request: Request, receive: Receive, answer: "ResponseRecorder") -> None:
        """Answer; once the head is out an error cuts the connection, so that no part looks whole."""
        send: Send = answer.send
        origin = request.first("origin")
        if origin is not None and scope["method"] == "OPTIONS":
            preflight = self._cors.preflight(Headers(scope=scope))
            if preflight is not None:
                await preflight(scope, receive, send)
                return
        answer.headers += self._cors.headers(origin)
        if announces_body(request) and not is_complete(scope):
            receive, send = lingering_close(request, receive, send)
        try:
            await self._route_or_reject(scope, request)(scope, receive, send)
        except ClientDisconnected:
            return
        except (Exception, asyncio.CancelledError) as error:
            if answer.begun:
                raise
            await _send_error(_to_api_error(error), scope, send)

    def _route_or_reject(self, scope: Scope, request: Request) -> ASGIApp:
        """Who answers, unless the head is too large or the client too quick; the server's own routes have no rate."""
        if request.size + len(scope["raw_path"]) + len(scope["query_string"]) > MAX_HEADER_BYTES:
            raise HeadersTooLarge
        if scope["path"] in self._operational.paths:
            return self._operational
        self._limiter.check(scope["client_address"])
        return self._app

    def _flush_spans_on_shutdown(self, send: Send) -> Send:
        """`send` of the lifespan that puts out the remaining spans before the server hears that all is done."""

        async def flushing_send(message: Message) -> None:
            if self._tracing and message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._tracing.close)
            await send(message)

        return flushing_send


class ResponseRecorder:
    """What goes out to one client: `headers` are added to its own, and what became of it can be told."""

    __slots__ = ("_send", "begun", "headers", "size", "status", "whole")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.headers = [(b"x-request-id", request_id.encode("ascii"))]
        self.begun = self.whole = False
        self.status = CLIENT_CLOSED_REQUEST
        self.size = 0

    async def send(self, message: Message) -> None:
        """Send the next part."""
        self.begun = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        await self._send(message)


def _to_api_error(error: BaseException) -> ApiError:
    """What the client hears of `error`; what only the operator may hear is logged."""
    if isinstance(error, asyncio.CancelledError):
        # The server stops and has waited long enough: the client is told, and the task ends with its answer.
        return NotReady()
    if not isinstance(error, ApiError):
        log.error("unexpected error", exc_info=error)
        return InternalError()
    if error.http_status >= InternalError.status:
        cause = error.__cause__
        log.warning("request failed", code=error.code, **({"cause": _one_line(cause)} if cause else {}))
    return error


def _one_line(error: BaseException) -> str:
    """What went wrong, without what it went wrong with: the data that could not be read, say."""
    return f"{type(error).__name__}: {error}"[:500]


async def _send_error(error: ApiError, scope: Scope, send: Send) -> None:
    status, headers, body = error_response(error, scope["request_id"])
    if status == MethodNotAllowed.status:
        headers.setdefault("Allow", scope.get("allow", ""))  # the platform's own 405 does not tell it
    await Response(body, status, headers)(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _request_id(request: Request) -> str:
    """The client's own id if it sent one that is well formed, else a new one."""
    given = request.headers.get("x-request-id", ())
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return f"{random.getrandbits(128):032x}"  # it names a request and guards nothing
