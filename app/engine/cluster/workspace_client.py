"""Workspaces on the disks of workers, as API servers reach them; see `workspace_protocol`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from app.engine.cluster.workspace_protocol import WORKSPACES, FileInfo, Refusal, encode_path, raised_by
from app.engine.config import EngineConfig
from app.engine.session_workspaces import SessionWorkspace, SessionWorkspaces
from app.errors import InternalError, WorkspaceNotReady, WorkspaceUnavailable
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff
from app.results import FileContent, FileWritten, StreamedBody
from app.store import leases, workers
from app.store.database import Database
from app.store.sessions import SessionRow
from app.store.workers import WorkerRow
from app.workspaces.changes import PATCH

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 2.0
"""Between two looks at whether a worker that lets wait is still there."""
_OK = 200
T = TypeVar("T")


class RemoteWorkspaces(SessionWorkspaces):
    """The workspaces of all sessions, each with a worker of its disk."""

    def __init__(self, database: Database, config: EngineConfig) -> None:
        self._database = database
        self._config = config
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._client = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)

    async def find(self, session: SessionRow) -> SessionWorkspace:
        """See `SessionWorkspaces`; of several workers with the disk the session's own one is asked."""
        if session.disk is None:
            raise WorkspaceNotReady
        found = [each for each in await self._database.read(workers.known) if each.is_alive]
        found = [each for each in found if each.disk == session.disk]
        if not found:
            raise WorkspaceUnavailable
        placement = await self._database.read(leases.placement, session.row_id)
        owner = placement and placement.owner
        worker = next((each for each in found if each.name == owner), found[0])
        name = self._config.workspace(session).name
        return _RemoteWorkspace(_Worker(worker, self._client, self._database), session.row_id, name)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


class _Worker:
    """Requests to one worker. Raise the errors that it answers with, `WorkspaceUnavailable` if it is away."""

    def __init__(self, worker: WorkerRow, client: aiohttp.ClientSession, database: Database) -> None:
        self._worker = worker
        self._client = client
        self._database = database

    @asynccontextmanager
    async def request(
        self, method: str, target: str, data: bytes | AsyncIterable[bytes] | None, query: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Yield a successful response."""
        body = _Body(data) if isinstance(data, AsyncIterable) else None
        headers = {"Authorization": f"Bearer {self._worker.token}"}
        try:
            response = await self.while_alive(
                self._request(method, f"{self._worker.url}{target}", body or data, headers=headers, params=query)
            )
        except WorkspaceUnavailable:
            if body and body.error:
                raise body.error from None
            raise
        try:
            if response.status != _OK:
                raise await self._error(response)
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _request(self, method: str, url: str, data: Any, **options: Any) -> aiohttp.ClientResponse:
        try:
            return await self._client.request(method, url, data=data, **options)
        except (aiohttp.ClientError, OSError) as error:
            raise WorkspaceUnavailable from error

    async def _error(self, response: aiohttp.ClientResponse) -> Exception:
        content = await self.while_alive(read(response))
        try:
            return raised_by(msgspec.json.decode(content, type=Refusal)) or InternalError()
        except msgspec.DecodeError:
            return WorkspaceUnavailable()

    async def while_alive(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of work that waits for the worker, as long as that is there."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
                known = await self._database.read(workers.known)
                if not any(each.is_alive and each.name == self._worker.name for each in known):
                    raise WorkspaceUnavailable
            return task.result()
        finally:
            task.cancel()

    async def chunks(self, target: str, **query: str) -> AsyncGenerator[bytes, None]:
        """Yield the body of a response as it comes."""
        async with self.request("GET", target, None, query) as response:
            while chunk := await self.while_alive(read(response, whole=False)):
                yield chunk

    async def get(self, method: str, target: str, kind: type[T], data: Any = None, **query: str) -> T:
        """Return the value in a response."""
        async with self.request(method, target, data, query) as response:
            return msgspec.json.decode(await self.while_alive(read(response)), type=kind)


class _Body:
    """A body that is sent while it comes; `error` is what it has failed with."""

    def __init__(self, content: AsyncIterable[bytes]) -> None:
        self._content = content
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._content:
                yield chunk
        except Exception as error:
            self.error = error
            raise


class _RemoteWorkspace(SessionWorkspace):
    def __init__(self, worker: _Worker, session: int, name: str) -> None:
        self._worker = worker
        self._target = f"{WORKSPACES}/{session}"
        self._name = name

    def list_files(self, path: bytes, *, depth: int | None, limit: int) -> StreamedBody:
        query = {"path": encode_path(path), "limit": str(limit)} | ({} if depth is None else {"depth": str(depth)})
        return StreamedBody(self._worker.chunks(f"{self._target}/files", **query))

    async def read_file(self, path: bytes) -> FileContent:
        sent = encode_path(path)
        info = await self._worker.get("GET", f"{self._target}/file", FileInfo, path=sent)

        def read_part(start: int, end: int) -> AsyncGenerator[bytes, None]:
            query = {"etag": info.etag, "start": str(start), "end": str(end)}
            return self._worker.chunks(f"{self._target}/content", path=sent, **query)

        return FileContent(info.size, info.etag, read_part, info.name)

    async def write_file(self, path: bytes, content: AsyncIterable[bytes]) -> FileWritten:
        return await self._worker.get("PUT", f"{self._target}/file", FileWritten, content, path=encode_path(path))

    def archive(self, path: bytes, format: ArchiveFormat) -> StreamedBody:
        name = path.rpartition(b"/")[2].decode("utf-8", "replace") or self._name
        chunks = self._worker.chunks(f"{self._target}/archive", path=encode_path(path), format=format.value)
        return StreamedBody(chunks, f"{name}.{format}")

    async def diff(self, path: bytes, *, limit: int) -> WorkspaceDiff:
        query = {"path": encode_path(path), "limit": str(limit)}
        return await self._worker.get("GET", f"{self._target}/diff", WorkspaceDiff, **query)

    async def patch(self, path: bytes, state: str | None) -> StreamedBody:
        query = {"path": encode_path(path), "state": state or ""}
        return StreamedBody(self._worker.chunks(f"{self._target}/patch", **query), PATCH)

    async def push(self, wanted: PushCreate) -> Push:
        return await self._worker.get("POST", f"{self._target}/push", Push, msgspec.json.encode(wanted))


async def read(response: aiohttp.ClientResponse, *, whole: bool = True) -> bytes:
    """Return the whole body, or its next chunk, empty at its end; `WorkspaceUnavailable` if the connection breaks."""
    try:
        return await response.read() if whole else await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        raise WorkspaceUnavailable from error
