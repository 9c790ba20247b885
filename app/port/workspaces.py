"""The port's workspaces: the files of a session, and how they differ from their beginning."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable

from app.models.caller import Caller
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff, WorkspaceFiles
from app.results import FileContent, FileWritten, Idempotent, StreamedBody


class Workspaces(ABC):
    """Operations on the workspace of a session, in any state in which it has one. The duties of `Backend` apply.

    Paths are bytes, relative to the workspace and without `..`; empty for the workspace itself. An implementation never
    leaves the workspace, whatever links are in it, and serves nothing of git's own. Every method raises
    `WorkspaceNotReady` where the session has no workspace, and `NotSupported` where the backend cannot do it.
    """

    @abstractmethod
    async def list_workspace_files(
        self, caller: Caller, session_id: str, *, path: bytes, depth: int | None, limit: int
    ) -> WorkspaceFiles | StreamedBody:
        """Return what is below a directory. (GET /v1/sessions/{session_id}/workspace/files)

        At most `depth` levels, None for all, and `limit` entries, those near the top first. A streamed body is a
        `WorkspaceFiles` in JSON. Raises `WorkspaceFileNotFound`, `WrongFileType`.
        """

    @abstractmethod
    async def read_workspace_file(self, caller: Caller, session_id: str, *, path: bytes) -> FileContent:
        """Return a file. (GET /v1/sessions/{session_id}/workspace/file)

        Reading it raises `FileChanged` if it changes meanwhile. Raises `WorkspaceFileNotFound`, `WrongFileType`.
        """

    @abstractmethod
    async def write_workspace_file(
        self, caller: Caller, session_id: str, *, path: bytes, content: AsyncIterable[bytes]
    ) -> FileWritten:
        """Write a file, which appears once it is complete. (PUT /v1/sessions/{session_id}/workspace/file)

        Raises `WorkspaceFileNotFound`, `WrongFileType`, and whatever reading the content raises.
        """

    @abstractmethod
    async def get_workspace_archive(
        self, caller: Caller, session_id: str, *, path: bytes, format: ArchiveFormat
    ) -> StreamedBody:
        """Return a directory as an archive. (GET /v1/sessions/{session_id}/workspace/archive)

        Raises `WorkspaceFileNotFound`, `WrongFileType`.
        """

    @abstractmethod
    async def get_workspace_diff(self, caller: Caller, session_id: str, *, path: bytes, limit: int) -> WorkspaceDiff:
        """Return the files below a directory that differ. (GET /v1/sessions/{session_id}/workspace/diff)

        Raises `WorkspaceFileNotFound` for a path that exists neither now nor at the beginning.
        """

    @abstractmethod
    async def get_workspace_patch(
        self, caller: Caller, session_id: str, *, path: bytes, state: str | None
    ) -> StreamedBody:
        """Return a patch for `git apply` in a directory. (GET /v1/sessions/{session_id}/workspace/patch)

        `state` is that of a diff; without it the current one counts. Raises `WorkspaceFileNotFound` for a path that
        exists neither now nor at the beginning, and for a state that is none.
        """

    @abstractmethod
    async def push_workspace(self, caller: Caller, session_id: str, wanted: PushCreate) -> Idempotent[Push]:
        """Commit what is there and push it to a branch. (POST /v1/sessions/{session_id}/workspace/push)

        Raises `BadRequest` for a branch whose name git does not accept, `WorkspaceFileNotFound` for a repository that
        is none, `RemoteMoved`, `PushFailed`.
        """
