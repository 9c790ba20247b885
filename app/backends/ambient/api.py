"""The platform's HTTP API: one method for each endpoint, with a metric and a trace span for each call."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import lru_cache, partial
from http import HTTPMethod, HTTPStatus
from random import random
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import structlog

from app.backends.ambient import mapping
from app.backends.ambient.errors import error_for, safe_text, translate_errors
from app.backends.ambient.resources import Page, Resource, reader
from app.errors import ApiError, BackendTimeout, BackendUnavailable, NotSupported, SessionNotFound, SessionRunning
from app.httpclient.client import HttpClient, Response
from app.lifecycle import Action
from app.models.caller import Caller
from app.observability.metrics import Observe
from app.observability.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

T = TypeVar("T")

_SUCCESS = range(200, 300)
_OK = (HTTPStatus.OK,)
_CONFLICT_PAUSES = (0.03, 0.06, 0.12, 0.25)  # seconds before a write is tried again

_quote = lru_cache(maxsize=4096)(partial(quote, safe=""))
_read_session = reader(Resource)
_read_page = reader(Page)


class PlatformApi:
    """Client of the platform at `url`, with a token for each call.

    `timeout` in seconds bounds each wait for the platform. Calls are reported to `observe` and, with `tracing`, are
    client spans. A response that is not a success raises an error of `app.errors` with the platform's status;
    `BackendTimeout` and `BackendUnavailable` if there is no usable response.
    """

    def __init__(
        self, url: str, timeout: float, observe: Observe | None = None, tracing: Tracing | None = None
    ) -> None:
        self._client = HttpClient(url, timeout)
        self._observe: Observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._tracing = tracing

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    # Endpoints

    async def health(self) -> None:
        """GET /health, which needs no token; `BackendUnavailable` unless the platform is healthy."""
        try:
            response = await self._call("health", HTTPMethod.GET, None, "/health")
        except BackendTimeout as error:
            raise BackendUnavailable from error
        if response.status != HTTPStatus.OK:
            raise BackendUnavailable

    async def list_sessions(self, caller: Caller, limit: int, offset: int, search: str | None) -> Page:
        """GET a page of the project's sessions, newest first."""
        query: dict[str, str | int] = {"limit": limit, "offset": offset}
        if search:
            query["search"] = search
        target = f"{_sessions(caller)}?{urlencode(query)}"
        return _decode(await self._call("list_sessions", HTTPMethod.GET, caller, target), _read_page)

    async def create_session(self, caller: Caller, body: dict[str, Any]) -> str:
        """POST a session and return its name."""
        response = await self._call("create_session", HTTPMethod.POST, caller, _sessions(caller), body)
        name = mapping.created_name(_decode(response, _read_session, (HTTPStatus.OK, HTTPStatus.CREATED)))
        if name is None:
            raise BackendUnavailable
        return name

    async def get_session(self, caller: Caller, session_id: str) -> Resource:
        """GET a session; `SessionNotFound`."""
        response = await self._call("get_session", HTTPMethod.GET, caller, _sessions(caller, session_id))
        return _decode(_found(response), _read_session)

    async def update_spec(self, caller: Caller, session_id: str, spec: dict[str, Any]) -> None:
        """PUT parts of a session's specification; `SessionRunning` in phases in which the platform refuses that."""
        response = await self._write("update_session", HTTPMethod.PUT, caller, _sessions(caller, session_id), spec)
        if response.status == HTTPStatus.CONFLICT:
            raise SessionRunning
        _object(_found(response))

    async def rename(self, caller: Caller, session_id: str, display_name: str) -> None:
        """PUT a display name, in any phase."""
        target = _sessions(caller, session_id, "displayname")
        body = {"displayName": display_name}
        _object(_found(await self._write("rename_session", HTTPMethod.PUT, caller, target, body)))

    async def annotate(self, caller: Caller, session_id: str, annotations: dict[str, str]) -> None:
        """PATCH annotations, in any phase; others stay as they are."""
        target = _sessions(caller, session_id)
        body = {"metadata": {"annotations": annotations}}
        _object(_found(await self._write("annotate_session", HTTPMethod.PATCH, caller, target, body)))

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """DELETE a session, in any phase."""
        response = await self._call("delete_session", HTTPMethod.DELETE, caller, _sessions(caller, session_id))
        _expect(_found(response), (HTTPStatus.NO_CONTENT,))

    async def transition(self, caller: Caller, session_id: str, action: Action) -> Resource:
        """POST start or stop and return the session as it was before.

        A 500 is tried once more: the platform sends it when its operator wrote the session at the same time.
        """
        operation, target = f"{action}_session", _sessions(caller, session_id, action)
        response = await self._call(operation, HTTPMethod.POST, caller, target)
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            response = await self._call(operation, HTTPMethod.POST, caller, target)
        before = _decode(_found(response), _read_session, (HTTPStatus.OK, HTTPStatus.ACCEPTED))
        if mapping.name(before) is None and before.message is not None:
            # 200 "Session no longer exists (already deleted)", without a session.
            raise SessionNotFound
        return before

    async def run(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> dict[str, Any]:
        """POST a RunAgentInput and return the ids of run and thread; the platform checks neither session nor phase."""
        target = _sessions(caller, session_id, "agui", "run")
        response = await self._call("run", HTTPMethod.POST, caller, target, run_input)
        return _object(response, (HTTPStatus.OK, HTTPStatus.ACCEPTED))

    async def interrupt(self, caller: Caller, session_id: str) -> bool:
        """POST an interrupt and return whether there was a runner and it had a session to interrupt."""
        target = _sessions(caller, session_id, "agui", "interrupt")
        response = await self._call("interrupt", HTTPMethod.POST, caller, target)
        if response.status >= HTTPStatus.BAD_REQUEST and b"no active session" in response.body.lower():
            return False
        if response.status == HTTPStatus.BAD_GATEWAY and (_error_text(response) or "").startswith("Post "):
            return False  # the platform could not reach the session's runner
        _object(response)
        return True

    async def logs(self, caller: Caller, session_id: str, tail: int) -> str:
        """GET the last lines that the session's runner wrote; `NotSupported` if the platform does not offer them.

        Read the session first.
        """
        target = f"{_sessions(caller, session_id, 'logs')}?{urlencode({'tailLines': tail})}"
        response = await self._call("logs", HTTPMethod.GET, caller, target)
        if response.status == HTTPStatus.NOT_FOUND:
            raise NotSupported
        if _expect(response).media_type != "text/plain":
            raise BackendUnavailable
        return response.body.decode("utf-8", "replace")

    async def export(self, caller: Caller, session_id: str) -> AsyncGenerator[bytes, None]:
        """GET a session's log, whatever its length, and yield it in pieces; an empty object if nothing has run yet.

        Read the session first: the platform exports the log of any session of that name, in whatever project it is.
        """
        pieces = self._stream("export", caller, _sessions(caller, session_id, "export"))
        async with aclosing(pieces):
            head = await anext(pieces)
            if head.status == HTTPStatus.NOT_FOUND:
                yield b"{}"
                return
            async for piece in pieces:
                yield piece.body

    async def events(self, caller: Caller, session_id: str) -> AsyncGenerator[bytes, None]:
        """GET the live stream of a session's log: nothing once it is connected, then pieces of server-sent events.

        It repeats the log and then has what comes. Without any event even the head may take 15 seconds. It goes on
        until the connection breaks, which is an error. Read the session first.
        """
        pieces = self._stream("events", caller, _sessions(caller, session_id, "agui", "events"))
        async with aclosing(pieces):
            head = await anext(pieces)
            if head.status != HTTPStatus.OK or head.media_type != "text/event-stream":
                raise BackendUnavailable
            yield b""
            async for piece in pieces:
                yield piece.body

    async def _stream(self, operation: str, caller: Caller, target: str) -> AsyncGenerator[Response, None]:
        """Send a GET; yield the response's head, then pieces of its body. A 404 has no body, other errors raise."""
        with _Observation(self._observe, operation):
            # The span is not made current: between two pieces their reader may be elsewhere.
            span = self._tracing.start_call(operation, HTTPMethod.GET) if self._tracing else None
            try:
                with translate_errors:
                    headers = self._headers(caller, b"", span)
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
            finally:
                if span:
                    span.end()
            if response.status != HTTPStatus.NOT_FOUND:
                raise _error(response)
            yield head

    # One call

    async def _write(
        self, operation: str, method: HTTPMethod, caller: Caller, target: str, body: dict[str, Any]
    ) -> Response:
        """Send a request that may be repeated; a 500 is how the platform reports a conflict with another writer."""
        for pause in _CONFLICT_PAUSES:
            response = await self._call(operation, method, caller, target, body)
            if response.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                return response
            await asyncio.sleep(pause * (0.5 + random()))  # noqa: S311 - spreads writers that have met
        return await self._call(operation, method, caller, target, body)

    async def _call(
        self,
        operation: str,
        method: HTTPMethod,
        caller: Caller | None,
        target: str,
        body: dict[str, Any] | None = None,
    ) -> Response:
        """Send a request and return its response, whatever its status; `operation` is its name in metrics and spans."""
        content = b"" if body is None else msgspec.json.encode(body)
        with _Observation(self._observe, operation) as observation, self._span(operation, method) as span:
            with translate_errors:
                headers = self._headers(caller, content)
                response = await self._client.request(method, target, headers, content)
            observation.failed = response.status not in _SUCCESS
            if span:
                span.set_attribute("http.response.status_code", response.status)
            return response

    def _span(self, operation: str, method: str) -> AbstractContextManager["Span | None"]:
        return self._tracing.call(operation, method) if self._tracing else nullcontext()

    def _headers(self, caller: Caller | None, content: bytes, span: "Span | None" = None) -> dict[str, str]:
        """Return the caller's token, the request id and the trace; no other header of the client is passed on."""
        headers: dict[str, str] = {}
        if caller is not None:
            headers["Authorization"] = f"Bearer {caller.token}"
        if content:
            headers["Content-Type"] = "application/json"
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            headers["X-Request-ID"] = request_id
        if self._tracing is not None:
            self._tracing.inject(headers, span)
        return headers


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


def _sessions(caller: Caller, *path: str) -> str:
    """Return the path of the project's sessions, or of what is below them."""
    return "/".join([f"/api/projects/{_quote(caller.project)}/agentic-sessions", *map(_quote, path)])


# Reading a response


def _expect(response: Response, statuses: tuple[int, ...] = _OK) -> Response:
    if response.status not in statuses:
        raise _error(response)
    return response


def _found(response: Response) -> Response:
    if response.status == HTTPStatus.NOT_FOUND:
        raise SessionNotFound(safe_text(_error_text(response)))
    return response


def _decode(response: Response, decode: Callable[[bytes], T | None], statuses: tuple[int, ...] = _OK) -> T:
    """Return what `decode` makes of the body; `BackendUnavailable` if that is None or an error."""
    _expect(response, statuses)
    with translate_errors:
        value = decode(response.body)
    if value is None:
        raise BackendUnavailable
    return value


def _object(response: Response, statuses: tuple[int, ...] = _OK) -> dict[str, Any]:
    return _decode(response, _decode_object, statuses)


def _decode_object(body: bytes) -> dict[str, Any] | None:
    value = msgspec.json.decode(body)
    return value if isinstance(value, dict) else None


def _error(response: Response) -> ApiError:
    return error_for(response.status, _error_text(response))


def _error_text(response: Response) -> str | None:
    """Return the platform's own text of an error, which a client must not see yet."""
    try:
        with translate_errors:
            value = _decode_object(response.body) or {}
    except BackendUnavailable:
        return None
    text = value.get("error")
    return text if isinstance(text, str) else None
