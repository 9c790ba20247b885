"""Requests to the platform as its operators see them: named, timed, traced."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import lru_cache, partial
from http import HTTPMethod, HTTPStatus
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import structlog
from opentelemetry import propagate, trace

from app.backends.ambient.failures import failure, translated
from app.backends.ambient.http import Pool
from app.errors import ApiError, BackendTimeout, BackendUnavailable

SUCCESSES = range(200, 300)
_NO_SPAN = nullcontext()
_segment = lru_cache(maxsize=4096)(partial(quote, safe=""))

T = TypeVar("T")
Observe = Callable[[str, float, str], None]
"""Told of every call: operation, seconds, and `ok`, `error`, `timeout`, `unavailable` or `cancelled`."""


class Reply(msgspec.Struct, frozen=True):
    """An answer of the platform, read to its end."""

    status: int
    body: bytes
    media_type: str

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; anything else raises BackendUnavailable."""
        return self.read(_object)

    def read(self, reader: Callable[[bytes], T | None]) -> T:
        """What `reader` makes of the body, which may be None or an error of msgspec: then BackendUnavailable."""
        with translated:
            value = reader(self.body)
        if value is None:
            raise BackendUnavailable
        return value

    def error(self) -> str | None:
        """The platform's own words for what went wrong, not fit for a client yet; None without any."""
        try:
            text = self.object().get("error")
        except BackendUnavailable:
            return None
        return text if isinstance(text, str) else None

    def expect(self, *statuses: int) -> "Reply":
        """Return this reply if its status is one of these, else raise what `failure` says of it."""
        if self.status not in statuses:
            raise failure(self.status, self.error())
        return self


class Client:
    """Requests to one platform; `timeout` in seconds, to an answer's head and between its bytes."""

    def __init__(
        self, url: str, timeout: float, observe: Observe | None = None, tracer: trace.Tracer | None = None
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._pool: Pool | None = None
        self._tracer = tracer

    async def open(self) -> None:
        """Make the pool; no connection yet."""
        self._pool = Pool(self._url, self._timeout)

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def send(
        self,
        operation: str,
        method: HTTPMethod,
        *path: str,
        token: str | None = None,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> Reply:
        """Send one request and read its whole answer, whatever its status; `operation` names it to operators."""
        outcome, begun = "cancelled", perf_counter()
        try:
            with self._span(operation, method) as span:
                reply = await self._exchange(method, path, token, query, body)
                if span:
                    span.set_attribute("http.response.status_code", reply.status)
        except ApiError as error:
            outcome = _outcome(error)
            raise
        else:
            outcome = "ok" if reply.status in SUCCESSES else "error"
            return reply
        finally:
            self._observe(operation, perf_counter() - begun, outcome)

    async def stream(self, operation: str, *path: str, token: str, absent: bytes) -> AsyncGenerator[bytes, None]:
        """GET an answer of any size piece by piece, which is `absent` for a 404; every other error is raised first."""
        outcome, begun = "cancelled", perf_counter()
        try:
            async with aclosing(self._pieces(operation, path, token, absent)) as pieces:
                async for piece in pieces:
                    yield piece
            outcome = "ok"
        except ApiError as error:
            outcome = _outcome(error)
            raise
        finally:
            self._observe(operation, perf_counter() - begun, outcome)

    async def _pieces(
        self, operation: str, path: Sequence[str], token: str, absent: bytes
    ) -> AsyncGenerator[bytes, None]:
        if self._pool is None:
            raise BackendUnavailable
        span = self._tracer.start_span(**_described(operation, HTTPMethod.GET)) if self._tracer else trace.INVALID_SPAN
        # Between the pieces the span is not the current one: whoever takes them may be elsewhere then.
        with trace.use_span(span, end_on_exit=False):
            headers = self._headers(token, b"")
        try:
            with translated:
                async with self._pool.exchange(_target(path), headers) as answer:
                    span.set_attribute("http.response.status_code", answer.status)
                    if answer.status == HTTPStatus.OK:
                        async for piece in answer:
                            yield piece
                        return
                    body = b"".join([piece async for piece in answer])
        finally:
            span.end()
        if answer.status == HTTPStatus.NOT_FOUND:
            yield absent
            return
        raise failure(answer.status, Reply(answer.status, body, answer.media_type).error())

    def _span(self, operation: str, method: str) -> AbstractContextManager[trace.Span | None]:
        if self._tracer is None:
            return _NO_SPAN
        return self._tracer.start_as_current_span(**_described(operation, method))

    async def _exchange(
        self, method: str, path: Sequence[str], token: str | None, query: Mapping[str, str | int] | None, body: Any
    ) -> Reply:
        if self._pool is None:
            raise BackendUnavailable
        target = _target(path)
        if query:
            target += f"?{urlencode(query)}"
        content = b"" if body is None else msgspec.json.encode(body)
        with translated:
            answer = await self._pool.fetch(method, target, self._headers(token, content), content)
        return Reply(answer.status, answer.body, answer.media_type)

    def _headers(self, token: str | None, content: bytes) -> dict[str, str]:
        """What a request says besides its body: the caller's token, the request's id, the trace; nothing else."""
        headers: dict[str, str] = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if content:
            headers["Content-Type"] = "application/json"
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            headers["X-Request-ID"] = request_id
        if self._tracer is not None:
            propagate.inject(headers)
        return headers


def _outcome(error: ApiError) -> str:
    match error:
        case BackendTimeout():
            return "timeout"
        case BackendUnavailable():
            return "unavailable"
    return "error"


def _described(operation: str, method: str) -> dict[str, Any]:
    """What a span of a call says of it."""
    attributes = {"http.request.method": method}
    return {"name": f"{method} {operation}", "kind": trace.SpanKind.CLIENT, "attributes": attributes}


def _target(path: Sequence[str]) -> str:
    return "".join([f"/{_segment(segment)}" for segment in path])


def _object(body: bytes) -> dict[str, Any] | None:
    value = msgspec.json.decode(body)
    return value if isinstance(value, dict) else None
