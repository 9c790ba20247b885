"""Calls of the platform over HTTP, with a metric and a trace span for each, and what their responses hold."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, nullcontext
from errno import ECONNREFUSED
from http import HTTPMethod, HTTPStatus
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from app.backends.ambient.errors import error_for, safe_text, translate_errors
from app.clock import now_ms
from app.errors import ApiError, BackendTimeout, BackendUnavailable, SessionNotFound
from app.httpclient.client import HttpClient, Response
from app.models.caller import Caller
from app.observability.logs import REQUEST_ID
from app.observability.metrics import Observe
from app.observability.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

T = TypeVar("T")

_SUCCESS = range(200, 300)
_OK = (HTTPStatus.OK,)
_NO_SPAN = nullcontext()
_REFUSED = f"[Errno {ECONNREFUSED}]"  # the text has one for each address of the host


class PlatformCalls:
    """Connections to the platform at `url`; each call has the token of its caller.

    `timeout` in seconds bounds each wait for the platform. Calls are reported to `observe` and, with `tracing`, are
    client spans. `BackendTimeout` and `BackendUnavailable` if there is no response.
    """

    def __init__(
        self, url: str, timeout: float, observe: Observe | None = None, tracing: Tracing | None = None
    ) -> None:
        self._client = HttpClient(url, timeout)
        self._observe: Observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._tracing = tracing
        self.gone_at = 0
        """When, in ms, nobody listened at the platform's address the last time: its backend did not run then."""

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def send(
        self,
        operation: str,
        method: HTTPMethod,
        caller: Caller | None,
        target: str,
        body: dict[str, Any] | bytes | None = None,
        *,
        max_body: int | None = None,
    ) -> Response:
        """Send a request and return its response, whatever its status; `operation` is its name in metrics and spans.

        A body that is not bytes is sent as JSON. The response may have `max_body` bytes, by default `MAX_BODY_BYTES`.
        """
        content, content_type = _encode(body)
        with _Observation(self._observe, operation) as observation, self._span(operation, method) as span:
            try:
                with translate_errors:
                    headers = self._headers(caller, content_type)
                    response = await self._client.request(method, target, headers, content, max_body=max_body)
            except BackendUnavailable as error:
                self._notice(error.__cause__)
                raise
            observation.failed = response.status not in _SUCCESS
            if span:
                span.set_attribute("http.response.status_code", response.status)
            return response

    def _notice(self, cause: BaseException | None) -> None:
        """Note whether a connection was refused, given why the platform was unavailable."""
        if isinstance(cause, OSError) and _REFUSED in str(cause):
            self.gone_at = now_ms()

    def _span(self, operation: str, method: str) -> AbstractContextManager["Span | None"]:
        return self._tracing.call(operation, method) if self._tracing else _NO_SPAN

    def _headers(self, caller: Caller | None, content_type: str, span: "Span | None" = None) -> dict[str, str]:
        """Return the caller's token, the request id and the trace; no other header of the client is passed on."""
        headers: dict[str, str] = {}
        if caller is not None:
            headers["Authorization"] = f"Bearer {caller.token}"
        if content_type:
            headers["Content-Type"] = content_type
        if request_id := REQUEST_ID.get():
            headers["X-Request-ID"] = request_id
        if self._tracing is not None:
            self._tracing.inject(headers, span)
        return headers

    async def stream(self, operation: str, caller: Caller, target: str) -> AsyncGenerator[Response, None]:
        """Send a GET; yield the response's head, then pieces of its body. A 404 has no body, other errors raise."""
        with _Observation(self._observe, operation):
            # The span is not made current: between two pieces their reader may be elsewhere.
            span = self._tracing.start_call(operation, HTTPMethod.GET) if self._tracing else None
            try:
                with translate_errors:
                    headers = self._headers(caller, "", span)
                    async with self._client.stream(target, headers) as streamed:
                        if span:
                            span.set_attribute("http.response.status_code", streamed.status)
                        head = Response(streamed.status, streamed.media_type, b"")
                        if streamed.status == HTTPStatus.OK:
                            yield head
                            async for piece in streamed:
                                yield head._replace(body=piece)
                            return
                        response = await streamed.read()
            except BackendUnavailable as error:
                self._notice(error.__cause__)
                raise
            finally:
                if span:
                    span.end()
            if response.status != HTTPStatus.NOT_FOUND:
                raise _error(response)
        yield head


def _encode(body: dict[str, Any] | bytes | None) -> tuple[bytes, str]:
    """Return a body as it is sent, with its content type."""
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return msgspec.json.encode(body), "application/json"


class _Observation:
    """Measurement of one call, which is reported with its outcome when the block ends."""

    def __init__(self, observe: Observe, operation: str) -> None:
        self.failed = False
        self._observe = observe
        self._operation = operation
        self._start = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        match error:
            case None:
                outcome = "error" if self.failed else "ok"
            case BackendTimeout():
                outcome = "timeout"
            case BackendUnavailable():
                outcome = "unavailable"
            case ApiError():
                outcome = "error"
            case _:
                outcome = "cancelled"
        self._observe(self._operation, perf_counter() - self._start, outcome)


# Reading a response


def expect(response: Response, statuses: tuple[int, ...] = _OK) -> Response:
    """Return the response if it has one of the statuses, else raise the error that it stands for."""
    if response.status not in statuses:
        raise _error(response)
    return response


def found(response: Response) -> Response:
    """Return the response; `SessionNotFound` if it is a 404."""
    if response.status == HTTPStatus.NOT_FOUND:
        raise SessionNotFound(safe_text(error_text(response)))
    return response


def decode(response: Response, read: Callable[[bytes], T | None], statuses: tuple[int, ...] = _OK) -> T:
    """Return what `read` makes of the body; `BackendUnavailable` if that is None or an error."""
    expect(response, statuses)
    with translate_errors:
        value = read(response.body)
    if value is None:
        raise BackendUnavailable
    return value


def read_object(response: Response, statuses: tuple[int, ...] = _OK) -> dict[str, Any]:
    """Return the body if it is an object; `BackendUnavailable` if not."""
    return decode(response, _decode_object, statuses)


def _decode_object(body: bytes) -> dict[str, Any] | None:
    value = msgspec.json.decode(body)
    return value if isinstance(value, dict) else None


def _error(response: Response) -> ApiError:
    return error_for(response.status, error_text(response))


def error_text(response: Response) -> str | None:
    """Return the platform's own text of an error, which a client must not see yet."""
    try:
        with translate_errors:
            value = _decode_object(response.body) or {}
    except BackendUnavailable:
        return None
    text = value.get("error", value.get("detail"))  # that of a session's runner
    return text if isinstance(text, str) else None
