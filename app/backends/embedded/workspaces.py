"""Workspaces of the embedded backend: directories on this machine, or on those of workers."""

from collections.abc import AsyncIterable

from app.engine import push
from app.engine.session_workspaces import SessionWorkspace, SessionWorkspaces
from app.errors import ApiError, WorkspaceNotReady
from app.models.caller import Caller
from app.models.sessions import SessionStatus
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff
from app.port.workspaces import Workspaces
from app.results import FileContent, FileWritten, Idempotent, StreamedBody
from app.store import idempotency, sessions
from app.store.database import Database


class EmbeddedWorkspaces(Workspaces):
    """Operations on the directory of a session."""

    def __init__(self, database: Database, workspaces: SessionWorkspaces) -> None:
        self._database = database
        self._workspaces = workspaces

    async def list_workspace_files(
        self, caller: Caller, session_id: str, *, path: bytes, depth: int | None, limit: int
    ) -> StreamedBody:
        """Return the entries as they are found."""
        return (await self._workspace(caller, session_id)).list_files(path, depth=depth, limit=limit)

    async def read_workspace_file(self, caller: Caller, session_id: str, *, path: bytes) -> FileContent:
        """Return a file, which is opened for each part of it."""
        return await (await self._workspace(caller, session_id)).read_file(path)

    async def write_workspace_file(
        self, caller: Caller, session_id: str, *, path: bytes, content: AsyncIterable[bytes]
    ) -> FileWritten:
        """Write a file beside the workspace, and move it there."""
        return await (await self._workspace(caller, session_id)).write_file(path, content)

    async def get_workspace_archive(
        self, caller: Caller, session_id: str, *, path: bytes, format: ArchiveFormat
    ) -> StreamedBody:
        """Return an archive that is made while it is sent."""
        return (await self._workspace(caller, session_id)).archive(path, format)

    async def get_workspace_diff(self, caller: Caller, session_id: str, *, path: bytes, limit: int) -> WorkspaceDiff:
        """Compare the workspace with its beginning."""
        return await (await self._workspace(caller, session_id)).diff(path, limit=limit)

    async def get_workspace_patch(
        self, caller: Caller, session_id: str, *, path: bytes, state: str | None
    ) -> StreamedBody:
        """Compare the workspace, or an earlier state of it, with its beginning."""
        return await (await self._workspace(caller, session_id)).patch(path, state)

    async def push_workspace(self, caller: Caller, session_id: str, wanted: PushCreate) -> Idempotent[Push]:
        """Push; the response to a key is stored once that is done, and an error is not."""
        push.check(wanted)
        workspace = await self._workspace(caller, session_id)
        key = caller.idempotency_key
        if key and (first := await self._database.write(idempotency.begin, key, Push)):
            return Idempotent(first, replayed=True)
        try:
            pushed = await workspace.push(wanted)
        except ApiError:
            if key:
                await self._database.write(idempotency.forget, key)
            raise
        if key:
            await self._database.write(idempotency.complete, key, pushed)
        return Idempotent(pushed)

    async def _workspace(self, caller: Caller, session_id: str) -> SessionWorkspace:
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        if session.status is SessionStatus.PENDING:  # its repositories are being cloned
            raise WorkspaceNotReady
        return await self._workspaces.find(session)
