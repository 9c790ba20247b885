"""The platform's HTTP API: one method for each endpoint."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache, partial
from http import HTTPMethod, HTTPStatus
from random import random
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlencode

from app.backends.ambient import mapping
from app.backends.ambient.calls import PlatformCalls, decode, error_text, expect, found, read_object
from app.backends.ambient.resources import (
    File,
    Files,
    Model,
    Models,
    Page,
    PodEvent,
    PodEvents,
    Resource,
    RunnerType,
    RunnerTypes,
    reader,
)
from app.errors import (
    BackendTimeout,
    BackendUnavailable,
    Forbidden,
    NotReady,
    NotSupported,
    SessionNotFound,
    SessionRunning,
    Unauthorized,
    WorkspaceFileNotFound,
    WorkspaceNotReady,
)
from app.httpclient.client import Response
from app.lifecycle import Action
from app.models.caller import Caller
from app.observability.metrics import Observe
from app.observability.tracing import Tracing

_CONFLICT_PAUSES = (0.03, 0.06, 0.12, 0.25)  # seconds before a write is tried again
_PLATFORM_REFUSALS = frozenset({"User token required", "Invalid or missing token", "Token expired or invalid"})
_NOBODY = Caller("nobody", "none")
_NOT_DELETED = "Failed to delete agentic session"
_MAX_LIST_BYTES = 32 << 20
_MAX_DIRECTORY_BYTES = 8 << 20  # of which several are read at once
_ANSWERS = (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NO_REVIEW = "Failed to perform access review"

_quote = lru_cache(maxsize=4096)(partial(quote, safe=""))
_read_session = reader(Resource)
_read_page = reader(Page)
_read_runner_types = reader(RunnerTypes)
_read_models = reader(Models)
_read_pod_events = reader(PodEvents)
_read_files = reader(Files)


RUNNER_IS_GONE = "The session's runner, which has the files, cannot be reached."
SECOND_GENERATION = (
    "BACKEND_URL is the platform's second generation (ambient-api-server), whose API this server does not speak; "
    "it must be the platform's backend"
)


class PlatformApi:
    """Client of the platform at `url`, with a token for each call.

    `timeout` in seconds bounds each wait for the platform. Calls are reported to `observe` and, with `tracing`, are
    client spans. A response that is not a success raises an error of `app.errors` with the platform's status;
    `BackendTimeout` and `BackendUnavailable` if there is no usable response.
    """

    def __init__(
        self, url: str, timeout: float, observe: Observe | None = None, tracing: Tracing | None = None
    ) -> None:
        self._calls = PlatformCalls(url, timeout, observe, tracing)

    async def close(self) -> None:
        """Close all connections."""
        await self._calls.close()

    @property
    def gone_at(self) -> int:
        """Return when, in ms, the platform's backend was last found not to run; 0 if it never was."""
        return self._calls.gone_at

    # Endpoints

    async def health(self) -> None:
        """GET /health; `BackendUnavailable` unless the platform is healthy and reaches Kubernetes.

        For that a token is sent which nobody has: Kubernetes refuses it. The platform's own health knows nothing of it.
        `NotReady` if this is the platform's second generation, which has another API.
        """
        try:
            healthy = await self._calls.send("health", HTTPMethod.GET, None, "/health")
            access = await self._calls.send("access", HTTPMethod.GET, _NOBODY, f"{_project(_NOBODY.project)}/access")
            if access.status != HTTPStatus.UNAUTHORIZED:
                later = await self._calls.send("second_generation", HTTPMethod.GET, None, "/api/ambient")
                if later.status in _ANSWERS:
                    raise NotReady(SECOND_GENERATION)
        except BackendTimeout as error:
            raise BackendUnavailable from error
        if healthy.status != HTTPStatus.OK or access.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BackendUnavailable

    async def list_sessions(self, caller: Caller, limit: int, offset: int, search: str | None) -> Page:
        """GET a page of the project's sessions, newest first."""
        query: dict[str, str | int] = {"limit": limit, "offset": offset}
        if search:
            query["search"] = search
        target = f"{_sessions(caller)}?{urlencode(query)}"
        response = await self._calls.send("list_sessions", HTTPMethod.GET, caller, target, max_body=_MAX_LIST_BYTES)
        await self._explain_read(caller, response)
        return decode(response, _read_page)

    async def runner_types(self, caller: Caller) -> list[RunnerType]:
        """GET the types of runners that the project may use; `NotSupported` if the platform has only one."""
        target = f"{_project(caller.project)}/runner-types"
        response = await self._calls.send("runner_types", HTTPMethod.GET, caller, target)
        if response.status == HTTPStatus.NOT_FOUND:
            raise NotSupported
        items = decode(response, lambda body: _read_runner_types(b'{"items":%b}' % body)).items
        if items is None:
            raise BackendUnavailable
        return items

    async def models(self, caller: Caller) -> list[Model]:
        """GET the models that the project may use; none if the platform does not name them."""
        target = f"{_project(caller.project)}/models"
        response = await self._calls.send("models", HTTPMethod.GET, caller, target)
        if response.status == HTTPStatus.NOT_FOUND:
            return []
        return decode(response, _read_models).models or []

    async def create_session(self, caller: Caller, body: dict[str, Any]) -> str:
        """POST a session and return its name."""
        response = await self._calls.send("create_session", HTTPMethod.POST, caller, _sessions(caller), body)
        await self._explain_write(caller, response)
        name = mapping.created_name(decode(response, _read_session, (HTTPStatus.OK, HTTPStatus.CREATED)))
        if name is None:
            raise BackendUnavailable
        return name

    async def get_session(self, caller: Caller, session_id: str) -> Resource:
        """GET a session; `SessionNotFound`."""
        response = await self._calls.send("get_session", HTTPMethod.GET, caller, _sessions(caller, session_id))
        await self._explain_read(caller, response)
        return decode(found(response), _read_session)

    async def update_spec(self, caller: Caller, session_id: str, spec: dict[str, Any]) -> None:
        """PUT parts of a session's specification; `SessionRunning` in phases in which the platform refuses that."""
        response = await self._write("update_session", HTTPMethod.PUT, caller, _sessions(caller, session_id), spec)
        if response.status == HTTPStatus.CONFLICT:
            raise SessionRunning
        read_object(found(response))

    async def switch_model(self, caller: Caller, session_id: str, model: str) -> None:
        """POST another model for a running session; `NotSupported` in other phases and while its agent works."""
        target = _sessions(caller, session_id, "model")
        response = await self._write("switch_model", HTTPMethod.POST, caller, target, {"model": model})
        if response.status in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise NotSupported("The platform changes the model only while the session runs and its agent is idle.")
        read_object(found(response))

    async def rename(self, caller: Caller, session_id: str, display_name: str) -> None:
        """PUT a display name, in any phase."""
        target = _sessions(caller, session_id, "displayname")
        body = {"displayName": display_name}
        read_object(found(await self._write("rename_session", HTTPMethod.PUT, caller, target, body)))

    async def annotate(self, caller: Caller, session_id: str, annotations: dict[str, str]) -> None:
        """PATCH annotations, in any phase; others stay as they are."""
        target = _sessions(caller, session_id)
        body = {"metadata": {"annotations": annotations}}
        read_object(found(await self._write("annotate_session", HTTPMethod.PATCH, caller, target, body)))

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """DELETE a session, in any phase. That meets no conflicts, so what fails again is refused."""
        target = _sessions(caller, session_id)
        response = await self._calls.send("delete_session", HTTPMethod.DELETE, caller, target)
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            await self._explain_write(caller, response)
            response = await self._calls.send("delete_session", HTTPMethod.DELETE, caller, target)
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR and error_text(response) == _NOT_DELETED:
                raise Forbidden
        expect(found(response), (HTTPStatus.NO_CONTENT,))

    async def transition(self, caller: Caller, session_id: str, action: Action) -> Resource:
        """POST start or stop and return the session as it was before."""
        target = _sessions(caller, session_id, action)
        response = await self._write(f"{action}_session", HTTPMethod.POST, caller, target)
        before = decode(found(response), _read_session, (HTTPStatus.OK, HTTPStatus.ACCEPTED))
        if mapping.name(before) is None and before.message is not None:
            # 200 "Session no longer exists (already deleted)", without a session.
            raise SessionNotFound
        return before

    async def run(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> dict[str, Any]:
        """POST a RunAgentInput and return the ids of run and thread; the platform checks neither session nor phase."""
        target = _sessions(caller, session_id, "agui", "run")
        response = await self._calls.send("run", HTTPMethod.POST, caller, target, run_input)
        return read_object(response, (HTTPStatus.OK, HTTPStatus.ACCEPTED))

    async def has_runner(self, caller: Caller, session_id: str) -> bool:
        """GET what a session's runner can do, and return whether there is a runner that responds."""
        target = _sessions(caller, session_id, "agui", "capabilities")
        response = await self._calls.send("capabilities", HTTPMethod.GET, caller, target)
        return response.status != HTTPStatus.OK or read_object(response).get("framework") != "unknown"

    async def interrupt(self, caller: Caller, session_id: str) -> bool:
        """POST an interrupt and return whether there was a runner and it had a session to interrupt."""
        target = _sessions(caller, session_id, "agui", "interrupt")
        response = await self._calls.send("interrupt", HTTPMethod.POST, caller, target)
        if response.status >= HTTPStatus.BAD_REQUEST and b"no active session" in response.body.lower():
            return False
        text = error_text(response) or ""
        if response.status == HTTPStatus.BAD_GATEWAY and text.startswith("Post "):
            return False  # the platform could not reach the session's runner
        if response.status == HTTPStatus.UNAUTHORIZED and text not in _PLATFORM_REFUSALS:
            raise BackendUnavailable  # the runner does not accept the platform's token; the caller's is fine
        read_object(response)
        return True

    async def pod_events(self, caller: Caller, session_id: str) -> list[PodEvent]:
        """GET what Kubernetes tells of a session's pod, oldest first; `NotSupported` by platforms that do not tell it.

        Read the session first.
        """
        target = _sessions(caller, session_id, "pod-events")
        response = await self._calls.send("pod_events", HTTPMethod.GET, caller, target)
        if response.status == HTTPStatus.NOT_FOUND:
            raise NotSupported
        return decode(response, _read_pod_events).events or []

    async def list_files(self, caller: Caller, session_id: str, path: str) -> list[File] | None:
        """GET what is in a directory of a running session's workspace; of a file that alone.

        None if the platform could not find out. Then it says that there is nothing, in a response of its own, which
        tells the charset, as those that it passes on do not. Read the session first. Raises `WorkspaceFileNotFound`.
        """
        query = urlencode({"path": f"./{path}/."})  # spaces around it would be lost
        target = f"{_sessions(caller, session_id, 'workspace')}?{query}"
        response = await self._calls.send("list_files", HTTPMethod.GET, caller, target, max_body=_MAX_DIRECTORY_BYTES)
        if response.status == HTTPStatus.BAD_REQUEST:
            raise WorkspaceFileNotFound
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        items = decode(response, _read_files).items
        if items is None:
            raise BackendUnavailable
        return None if not items and response.media_parameters else items

    async def read_file(self, caller: Caller, session_id: str, path: str) -> AsyncGenerator[Response, None]:
        """GET a file of a running session's workspace; yield the head, then pieces of it. A 404 has none.

        Read the session first.
        """
        target = _sessions(caller, session_id, "workspace", *path.split("/"))
        async with aclosing(self._calls.stream("read_file", caller, target)) as pieces:
            async for piece in pieces:
                yield piece

    async def write_file(self, caller: Caller, session_id: str, path: str, content: bytes) -> None:
        """PUT a file into a running session's workspace; `WorkspaceFileNotFound`, `WorkspaceNotReady`."""
        target = _sessions(caller, session_id, "workspace", *path.split("/"))
        response = await self._calls.send("write_file", HTTPMethod.PUT, caller, target, content)
        if response.status == HTTPStatus.BAD_REQUEST:
            raise WorkspaceFileNotFound
        if response.status in (HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE):
            raise WorkspaceNotReady(RUNNER_IS_GONE)
        read_object(found(response))

    async def export(self, caller: Caller, session_id: str) -> AsyncGenerator[bytes, None]:
        """GET a session's log, whatever its length, and yield it in pieces; an empty object if nothing has run yet.

        Read the session first: the platform exports the log of any session of that name, in whatever project it is.
        """
        pieces = self._calls.stream("export", caller, _sessions(caller, session_id, "export"))
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
        pieces = self._calls.stream("events", caller, _sessions(caller, session_id, "agui", "events"))
        async with aclosing(pieces):
            head = await anext(pieces)
            if head.status != HTTPStatus.OK or head.media_type != "text/event-stream":
                raise BackendUnavailable
            yield b""
            async for piece in pieces:
                yield piece.body

    async def _write(
        self, operation: str, method: HTTPMethod, caller: Caller, target: str, body: dict[str, Any] | None = None
    ) -> Response:
        """Send a request that may be repeated; a 500 is how the platform reports a conflict with another writer."""
        response = await self._calls.send(operation, method, caller, target, body)
        await self._explain_write(caller, response)
        for pause in _CONFLICT_PAUSES:
            if response.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            await asyncio.sleep(pause * (0.5 + random()))  # noqa: S311 - spreads writers that have met
            response = await self._calls.send(operation, method, caller, target, body)
        return response

    # What a 500 means: the platform sends it, too, when Kubernetes refuses a call or cannot be reached

    async def _explain_read(self, caller: Caller, response: Response) -> None:
        """Raise what a 500 to a read stands for, if that is not a fault: `Unauthorized`, `Forbidden`."""
        if await self._is_unexplained(caller, response):
            # The log of a session that does not exist: 404 for who may read sessions, else 403.
            target = _sessions(caller, f"none-{token_hex(8)}", "export")
            if await self._status("export", caller, target) == HTTPStatus.FORBIDDEN:
                raise Forbidden

    async def _explain_write(self, caller: Caller, response: Response) -> None:
        """Raise what a 500 to a write stands for, if that is neither a fault nor a conflict."""
        if await self._is_unexplained(caller, response):
            access = await self._calls.send("access", HTTPMethod.GET, caller, f"{_project(caller.project)}/access")
            if access.status == HTTPStatus.OK and read_object(access).get("userRole") == "view":
                raise Forbidden

    async def _is_unexplained(self, caller: Caller, response: Response) -> bool:
        """Return whether a response is a 500 that has nothing to do with the token or with Kubernetes being away.

        The platform remembers for 30 seconds that a token has access to a project, so another project is asked for.
        """
        if response.status != HTTPStatus.INTERNAL_SERVER_ERROR or (text := error_text(response)) is None:
            return False
        if text == _NO_REVIEW:
            raise BackendUnavailable
        match await self._status("access", caller, f"{_project(f'none-{token_hex(8)}')}/access"):
            case HTTPStatus.UNAUTHORIZED:
                raise Unauthorized
            case HTTPStatus.INTERNAL_SERVER_ERROR:
                raise BackendUnavailable
        return True

    async def _status(self, operation: str, caller: Caller, target: str) -> int | None:
        """Send a GET and return the status of the response, None if there is none."""
        try:
            return (await self._calls.send(operation, HTTPMethod.GET, caller, target)).status
        except (BackendTimeout, BackendUnavailable):
            return None


def _sessions(caller: Caller, *path: str) -> str:
    """Return the path of the project's sessions, or of what is below them."""
    return "/".join([f"{_project(caller.project)}/agentic-sessions", *map(_quote, path)])


def _project(name: str) -> str:
    return f"/api/projects/{_quote(name)}"
