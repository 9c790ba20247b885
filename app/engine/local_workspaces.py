"""The workspaces of sessions on this machine."""

from collections.abc import AsyncIterable

from app.engine.config import EngineConfig
from app.engine.disk_quota import DiskQuota
from app.engine.push import push
from app.engine.session_secrets import SecretsError
from app.engine.session_workspaces import SessionWorkspace, SessionWorkspaces
from app.errors import InvalidState
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff
from app.results import FileContent, FileWritten, StreamedBody
from app.store.sessions import SessionRow

_TITLE = 200  # characters of a task that are the message of a commit


class LocalWorkspaces(SessionWorkspaces):
    """Workspaces on this machine."""

    def __init__(self, config: EngineConfig, disk: DiskQuota) -> None:
        self._config = config
        self._disk = disk

    async def find(self, session: SessionRow) -> SessionWorkspace:
        """See `SessionWorkspaces`."""
        return _LocalWorkspace(session, self._config, self._disk)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class _LocalWorkspace(SessionWorkspace):
    def __init__(self, session: SessionRow, config: EngineConfig, disk: DiskQuota) -> None:
        self._session = session
        self._config = config
        self._disk = disk
        self._workspace = config.opened(session)

    def list_files(self, path: bytes, *, depth: int | None, limit: int) -> StreamedBody:
        return self._workspace.list_files(path, depth=depth, limit=limit)

    async def read_file(self, path: bytes) -> FileContent:
        return await self._workspace.read_file(path)

    async def write_file(self, path: bytes, content: AsyncIterable[bytes]) -> FileWritten:
        return await self._workspace.write_file(path, self._disk.limit(self._session, content))

    def archive(self, path: bytes, format: ArchiveFormat) -> StreamedBody:
        return self._workspace.archive(path, format)

    async def diff(self, path: bytes, *, limit: int) -> WorkspaceDiff:
        return await self._workspace.diff(path, limit=limit)

    async def patch(self, path: bytes, state: str | None) -> StreamedBody:
        return await self._workspace.patch(path, state)

    async def push(self, wanted: PushCreate) -> Push:
        session = self._session
        try:
            new = self._config.secrets.whole(session)
        except SecretsError as error:
            raise InvalidState(str(error)) from error
        return await push(
            self._workspace,
            new,
            wanted,
            title=session.request.display_name or session.request.task.strip().splitlines()[0][:_TITLE],
            access=self._config.git,
            roots=self._config.local_roots.get(session.project, ()),
        )
