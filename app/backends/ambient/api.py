"""Requests to the platform as its operators see them: named, timed, traced."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import lru_cache, partial
from http import HTTPMethod, HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import structlog

from app.backends.ambient import mapping
from app.backends.ambient.errors import error_for, safe_text, translate_errors
from app.backends.ambient.resources import Page, Resource, reader
from app.errors import ApiError, BackendTimeout, BackendUnavailable, NotSupported, SessionNotFound, SessionRunning
from app.httpclient.pool import Pool
from app.models.caller import Caller
from app.observability.metrics import Observe
from app.observability.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SUCCESSES = range(200, 300)
_NO_SPAN = nullcontext()
_segment = lru_cache(maxsize=4096)(partial(quote, safe=""))

T = TypeVar("T")


class PlatformReply(msgspec.Struct, frozen=True):
    """An answer of the platform, read to its end."""

    status: int
    body: bytes
    media_type: str

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; anything else raises BackendUnavailable."""
        return self.read(_object)

    def read(self, reader: Callable[[bytes], T | None]) -> T:
        """What `reader` makes of the body, which may be None or an error of msgspec: then BackendUnavailable."""
        with translate_errors:
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

    def expect(self, *statuses: int) -> "PlatformReply":
        """Return this reply if its status is one of these, else raise what `failure` says of it."""
        if self.status not in statuses:
            raise error_for(self.status, self.error())
        return self


class PlatformClient:
    """Requests to one platform; `timeout` in seconds, to an answer's head and between its bytes."""

    def __init__(
        self, url: str, timeout: float, observe: Observe | None = None, tracing: Tracing | None = None
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._pool: Pool | None = None
        self._tracing = tracing

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
    ) -> PlatformReply:
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
        # The span is not made current: whoever takes the pieces may be elsewhere between two of them.
        span = self._tracing.start_call(operation, HTTPMethod.GET) if self._tracing else None
        headers = self._headers(token, b"", span)
        try:
            with translate_errors:
                async with self._pool.exchange(_target(path), headers) as answer:
                    if span:
                        span.set_attribute("http.response.status_code", answer.status)
                    if answer.status == HTTPStatus.OK:
                        async for piece in answer:
                            yield piece
                        return
                    body = b"".join([piece async for piece in answer])
        finally:
            if span:
                span.end()
        if answer.status == HTTPStatus.NOT_FOUND:
            yield absent
            return
        raise error_for(answer.status, PlatformReply(answer.status, body, answer.media_type).error())

    def _span(self, operation: str, method: str) -> AbstractContextManager["Span | None"]:
        return self._tracing.call(operation, method) if self._tracing else _NO_SPAN

    async def _exchange(
        self, method: str, path: Sequence[str], token: str | None, query: Mapping[str, str | int] | None, body: Any
    ) -> PlatformReply:
        if self._pool is None:
            raise BackendUnavailable
        target = _target(path)
        if query:
            target += f"?{urlencode(query)}"
        content = b"" if body is None else msgspec.json.encode(body)
        with translate_errors:
            answer = await self._pool.fetch(method, target, self._headers(token, content), content)
        return PlatformReply(answer.status, answer.body, answer.media_type)

    def _headers(self, token: str | None, content: bytes, span: "Span | None" = None) -> dict[str, str]:
        """What a request says besides its body: the caller's token, the request's id, the trace; nothing else."""
        headers: dict[str, str] = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if content:
            headers["Content-Type"] = "application/json"
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            headers["X-Request-ID"] = request_id
        if self._tracing is not None:
            self._tracing.inject(headers, span)
        return headers


def _outcome(error: ApiError) -> str:
    match error:
        case BackendTimeout():
            return "timeout"
        case BackendUnavailable():
            return "unavailable"
    return "error"


def _target(path: Sequence[str]) -> str:
    return "".join([f"/{_segment(segment)}" for segment in path])


def _object(body: bytes) -> dict[str, Any] | None:
    value = msgspec.json.decode(body)
    return value if isinstance(value, dict) else None


_read_session = reader(Resource)
_read_page = reader(Page)


class PlatformApi:
    """The platform as one caller meets it; every answer that is not a success raises an error of `app.errors`."""

    def __init__(self, client: PlatformClient) -> None:
        self._client = client

    async def health(self) -> None:
        """GET /health; it needs no token."""
        try:
            reply = await self._client.send("health", HTTPMethod.GET, "health")
        except BackendTimeout as error:
            raise BackendUnavailable from error
        if reply.status != HTTPStatus.OK:
            raise BackendUnavailable

    async def list_sessions(self, caller: Caller, limit: int, offset: int, search: str | None) -> Page:
        """GET a page of the project's sessions, newest first."""
        query: dict[str, str | int] = {"limit": limit, "offset": offset}
        if search:
            query["search"] = search
        reply = await self._send("list_sessions", HTTPMethod.GET, caller, query=query)
        return reply.expect(HTTPStatus.OK).read(_read_page)

    async def create_session(self, caller: Caller, body: dict[str, Any]) -> str:
        """POST a session; its name."""
        reply = await self._send("create_session", HTTPMethod.POST, caller, body=body)
        name = mapping.created_name(reply.expect(HTTPStatus.OK, HTTPStatus.CREATED).read(_read_session))
        if name is None:
            raise BackendUnavailable
        return name

    async def get_session(self, caller: Caller, session_id: str) -> Resource:
        """GET a session; SessionNotFound if the project has none of that name."""
        reply = await self._send("get_session", HTTPMethod.GET, caller, session_id)
        return _found(reply).expect(HTTPStatus.OK).read(_read_session)

    async def update_spec(self, caller: Caller, session_id: str, spec: dict[str, Any]) -> None:
        """PUT parts of a session's specification; SessionRunning in the phases in which the platform refuses that."""
        reply = await self._send("update_session", HTTPMethod.PUT, caller, session_id, body=spec)
        if reply.status == HTTPStatus.CONFLICT:
            raise SessionRunning
        _found(reply).expect(HTTPStatus.OK).object()

    async def rename(self, caller: Caller, session_id: str, display_name: str) -> None:
        """PUT a display name, in any phase."""
        body = {"displayName": display_name}
        reply = await self._send("rename_session", HTTPMethod.PUT, caller, session_id, "displayname", body=body)
        _found(reply).expect(HTTPStatus.OK).object()

    async def annotate(self, caller: Caller, session_id: str, annotations: dict[str, str]) -> None:
        """PATCH annotations, in any phase; those that are not named stay."""
        body = {"metadata": {"annotations": annotations}}
        reply = await self._send("annotate_session", HTTPMethod.PATCH, caller, session_id, body=body)
        _found(reply).expect(HTTPStatus.OK).object()

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """DELETE a session, in any phase."""
        reply = await self._send("delete_session", HTTPMethod.DELETE, caller, session_id)
        _found(reply).expect(HTTPStatus.NO_CONTENT)

    async def transition(self, caller: Caller, session_id: str, action: Literal["start", "stop"]) -> Resource:
        """POST start or stop; the session as it was before.

        A 500 is tried once more: the platform answers so when its operator wrote the session at the same time.
        """
        operation = f"{action}_session"
        reply = await self._send(operation, HTTPMethod.POST, caller, session_id, action)
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            reply = await self._send(operation, HTTPMethod.POST, caller, session_id, action)
        before = _found(reply).expect(HTTPStatus.OK, HTTPStatus.ACCEPTED).read(_read_session)
        if mapping.name(before) is None and before.message is not None:
            # 200 "Session no longer exists (already deleted)", with no session in it.
            raise SessionNotFound
        return before

    async def run(self, caller: Caller, session_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST an AG-UI RunAgentInput; run id and thread id. The platform checks neither session nor phase."""
        reply = await self._send("run", HTTPMethod.POST, caller, session_id, "agui", "run", body=body)
        return reply.expect(HTTPStatus.OK, HTTPStatus.ACCEPTED).object()

    async def interrupt(self, caller: Caller, session_id: str) -> bool:
        """POST an interrupt; whether the runner had anything that could be interrupted."""
        reply = await self._send("interrupt", HTTPMethod.POST, caller, session_id, "agui", "interrupt")
        if reply.status >= HTTPStatus.BAD_REQUEST and b"no active session" in reply.body.lower():
            return False
        reply.expect(HTTPStatus.OK).object()
        return True

    def export(self, caller: Caller, session_id: str) -> AsyncGenerator[bytes, None]:
        """GET a session's log in pieces, in whatever project it is: read the session first.

        An object without `aguiEvents` where nothing has run yet.
        """
        return self._client.stream("export", *_path(caller, session_id, "export"), token=caller.token, absent=b"{}")

    async def logs(self, caller: Caller, session_id: str, tail: int) -> str:
        """GET the last lines that the runner wrote: read the session first. NotSupported if the platform has none."""
        reply = await self._send("logs", HTTPMethod.GET, caller, session_id, "logs", query={"tailLines": tail})
        if reply.status == HTTPStatus.NOT_FOUND:
            raise NotSupported
        if reply.expect(HTTPStatus.OK).media_type != "text/plain":
            raise BackendUnavailable
        return reply.body.decode("utf-8", "replace")

    async def _send(
        self,
        operation: str,
        method: HTTPMethod,
        caller: Caller,
        *path: str,
        query: dict[str, str | int] | None = None,
        body: dict[str, Any] | None = None,
    ) -> PlatformReply:
        return await self._client.send(
            operation,
            method,
            *_path(caller, *path),
            token=caller.token,
            query=query,
            body=body,
        )


def _path(caller: Caller, *path: str) -> tuple[str, ...]:
    """Where the sessions of the caller's project are, and what is below."""
    return ("api", "projects", caller.project, "agentic-sessions", *path)


def _found(reply: PlatformReply) -> PlatformReply:
    if reply.status == HTTPStatus.NOT_FOUND:
        raise SessionNotFound(safe_text(reply.error()))
    return reply
