"""The workspaces of sessions, as an API server uses them: on its own disk, or on that of another machine."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable

from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff
from app.results import FileContent, FileWritten, StreamedBody
from app.store.sessions import SessionRow


class SessionWorkspace(ABC):
    """The workspace of one session. Methods raise the errors of `app.port.workspaces`, and `WorkspaceUnavailable`."""

    @abstractmethod
    def list_files(self, path: bytes, *, depth: int | None, limit: int) -> StreamedBody:
        """Return what is below a directory."""

    @abstractmethod
    async def read_file(self, path: bytes) -> FileContent:
        """Return a file."""

    @abstractmethod
    async def write_file(self, path: bytes, content: AsyncIterable[bytes]) -> FileWritten:
        """Write a file."""

    @abstractmethod
    def archive(self, path: bytes, format: ArchiveFormat) -> StreamedBody:
        """Return a directory as an archive."""

    @abstractmethod
    async def diff(self, path: bytes, *, limit: int) -> WorkspaceDiff:
        """Return the files that differ from the beginning."""

    @abstractmethod
    async def patch(self, path: bytes, state: str | None) -> StreamedBody:
        """Return a patch of a directory, in a state that `diff` has returned or in the current one."""

    @abstractmethod
    async def push(self, wanted: PushCreate) -> Push:
        """Commit what is there and push it to a branch."""


class SessionWorkspaces(ABC):
    """The workspaces of all sessions."""

    @abstractmethod
    async def find(self, session: SessionRow) -> SessionWorkspace:
        """Return the workspace of a session; `WorkspaceUnavailable`."""

    @abstractmethod
    async def close(self) -> None:
        """Release what is held."""
