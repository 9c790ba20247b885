"""Serves the workspaces of a worker's disk to API servers; see `workspace_protocol`."""

import hmac
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import msgspec
import structlog
from aiohttp import web

from app.engine.cluster.workspace_protocol import WORKSPACES, FileInfo, Refusal, decode_path
from app.engine.session_workspaces import SessionWorkspace, SessionWorkspaces
from app.errors import ApiError, BadRequest, FileChanged, InternalError, SessionNotFound
from app.models.workspaces import ArchiveFormat, PushCreate
from app.store import sessions
from app.store.database import Database

TOKEN_BYTES = 32
CLOSE_SECONDS = 1.0
_encode = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger()


class WorkspaceServer:
    """An HTTP server for the sessions on one disk. `url` and `token` are what an API server needs to know."""

    def __init__(self, database: Database, workspaces: SessionWorkspaces, disk: str) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.url = ""
        self._database = database
        self._workspaces = workspaces
        self._disk = disk
        self._listener: socket.socket | None = None
        app = web.Application(middlewares=[self._guard])
        for method, name, handler in (
            ("GET", "files", self._list_files),
            ("GET", "file", self._stat_file),
            ("GET", "content", self._read_file),
            ("PUT", "file", self._write_file),
            ("GET", "archive", self._archive),
            ("GET", "diff", self._diff),
            ("GET", "patch", self._patch),
            ("POST", "push", self._push),
        ):
            app.router.add_route(method, f"{WORKSPACES}/{{session}}/{name}", handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)

    async def open(self, host: str, port: int) -> None:
        """Listen at an address of this machine, 0 for any free port; `OSError`.

        Where the address is not one of this machine's own, such as behind a forwarded port, all of them are used.
        """
        await self._runner.setup()
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        try:
            listener = socket.create_server(info[4][:2], family=info[0])
        except OSError:
            listener = socket.create_server(("", port))
        self._listener = listener
        await web.SockSite(self._runner, listener).start()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{listener.getsockname()[1]}"

    async def close(self) -> None:
        """End all requests."""
        await self._runner.cleanup()
        if self._listener:
            self._listener.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return web.Response(status=401)
        try:
            return await handler(request)
        except ApiError as error:
            return _refuse(error)
        except (KeyError, ValueError):
            return _refuse(BadRequest())
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            log.exception("workspace_request_failed", path=request.path)
            return _refuse(InternalError())

    async def _find(self, request: web.Request) -> SessionWorkspace:
        session = await self._database.read(sessions.get, int(request.match_info["session"]))
        if session is None or session.disk != self._disk:
            raise SessionNotFound
        return await self._workspaces.find(session)

    async def _list_files(self, request: web.Request) -> web.StreamResponse:
        depth = request.query.get("depth")
        found = (await self._find(request)).list_files(
            _path(request), depth=int(depth) if depth else None, limit=int(request.query["limit"])
        )
        return await _send(request, found.chunks)

    async def _stat_file(self, request: web.Request) -> web.StreamResponse:
        file = await (await self._find(request)).read_file(_path(request))
        return _json(FileInfo(file.size, file.etag, file.name))

    async def _read_file(self, request: web.Request) -> web.StreamResponse:
        file = await (await self._find(request)).read_file(_path(request))
        if file.etag != request.query["etag"]:
            raise FileChanged
        return await _send(request, file.read(int(request.query["start"]), int(request.query["end"])))

    async def _write_file(self, request: web.Request) -> web.StreamResponse:
        workspace = await self._find(request)
        written = await workspace.write_file(_path(request), request.content.iter_any())
        return _json({"etag": written.etag})

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        workspace = await self._find(request)
        return await _send(request, workspace.archive(_path(request), ArchiveFormat(request.query["format"])).chunks)

    async def _diff(self, request: web.Request) -> web.StreamResponse:
        workspace = await self._find(request)
        return _json(await workspace.diff(_path(request), limit=int(request.query["limit"])))

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        workspace = await self._find(request)
        return await _send(request, (await workspace.patch(_path(request), request.query["state"] or None)).chunks)

    async def _push(self, request: web.Request) -> web.StreamResponse:
        workspace = await self._find(request)
        return _json(await workspace.push(msgspec.json.decode(await request.read(), type=PushCreate)))


def _path(request: web.Request) -> bytes:
    return decode_path(request.query["path"])


def _json(value: object) -> web.Response:
    return web.Response(body=_encode(value), content_type="application/json")


def _refuse(error: ApiError) -> web.Response:
    refusal = Refusal(error.code, error.message)
    return web.Response(status=error.http_status, body=_encode(refusal), content_type="application/json")


async def _send(request: web.Request, chunks: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Send chunks as they come; an error before the first is the response, a later one cuts the connection."""
    async with aclosing(chunks):
        first = await anext(chunks, b"")
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        except ApiError:
            if request.transport:
                request.transport.abort()
            raise ConnectionAbortedError from None
        await response.write_eof()
    return response
