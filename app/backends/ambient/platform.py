"""The platform's endpoints, one method each: what is asked, and what its answers mean."""

from collections.abc import AsyncGenerator
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal

from app.backends.ambient import mapping
from app.backends.ambient.client import Client, Reply
from app.backends.ambient.resources import Page, Resource, reader
from app.backends.ambient.texts import fit
from app.errors import BackendTimeout, BackendUnavailable, NotSupported, SessionNotFound, SessionRunning
from app.types import Caller

_read_session = reader(Resource)
_read_page = reader(Page)


class Platform:
    """The platform as one caller meets it; every answer that is not a success raises an error of `app.errors`."""

    def __init__(self, client: Client) -> None:
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

    async def move(self, caller: Caller, session_id: str, action: Literal["start", "stop"]) -> Resource:
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
    ) -> Reply:
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


def _found(reply: Reply) -> Reply:
    if reply.status == HTTPStatus.NOT_FOUND:
        raise SessionNotFound(fit(reply.error()))
    return reply
