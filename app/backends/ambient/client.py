"""HTTP to the platform: one pool of connections, no redirects, no cookies, a time limit on every wait."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPMethod
from time import perf_counter
from typing import Any

import aiohttp
import msgspec
import structlog
from opentelemetry import propagate, trace
from yarl import URL

from app.backends.ambient.failures import failure, translated
from app.errors import BackendTimeout, BackendUnavailable

SUCCESSES = range(200, 300)

Observe = Callable[[str, float, str], None]
"""Told of every call: operation, seconds, and `ok`, `error`, `timeout`, `unavailable` or `cancelled`."""


class Reply(msgspec.Struct, frozen=True):
    """An answer of the platform, read to its end."""

    status: int
    body: bytes
    media_type: str

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; anything else raises BackendUnavailable."""
        with translated():
            value = msgspec.json.decode(self.body)
        if not isinstance(value, dict):
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
        # User information would become a second Authorization.
        self._root = URL(url).with_user(None)
        self._timeout = timeout
        self._observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._session: aiohttp.ClientSession | None = None
        self._tracer = tracer or trace.NoOpTracer()

    async def open(self) -> None:
        """Make the pool; no connection yet."""
        self._session = aiohttp.ClientSession(
            # The edge decides how many requests are served at once; a queue here would only hide them.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=self._timeout),
            headers={"Accept": "application/json", "User-Agent": "ambient-public-api"},
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
            with self._tracer.start_as_current_span(f"{method} {operation}", kind=trace.SpanKind.CLIENT) as span:
                span.set_attribute("http.request.method", method)
                reply = await self._exchange(method, self._root.joinpath(*path), _headers(token, body), query, body)
                span.set_attribute("http.response.status_code", reply.status)
        except BackendTimeout:
            outcome = "timeout"
            raise
        except BackendUnavailable:
            outcome = "unavailable"
            raise
        else:
            outcome = "ok" if reply.status in SUCCESSES else "error"
            return reply
        finally:
            self._observe(operation, perf_counter() - begun, outcome)

    async def _exchange(
        self, method: str, url: URL, headers: dict[str, str], query: Mapping[str, str | int] | None, body: Any
    ) -> Reply:
        if self._session is None:
            raise BackendUnavailable
        data = None if body is None else msgspec.json.encode(body)
        with translated():
            async with asyncio.timeout(self._timeout) as head:
                request = self._session.request(
                    method, url, params=query, data=data, headers=headers, allow_redirects=False
                )
                async with request as response:
                    head.reschedule(None)
                    return Reply(response.status, await response.read(), response.content_type)


def _headers(token: str | None, body: Any) -> dict[str, str]:
    """What a request says besides its body: the caller's token, the request's id, the trace; nothing else of theirs."""
    headers: dict[str, str] = {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    if request_id := structlog.contextvars.get_contextvars().get("request_id"):
        headers["X-Request-ID"] = request_id
    propagate.inject(headers)
    return headers
