"""Workspaces: files, changes, and what is done with them."""

from enum import StrEnum

from app.models.wire import WireModel


class FileType(StrEnum):
    """The type of an entry of a workspace."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"
    UNKNOWN = "unknown"


class WorkspaceFile(WireModel):
    """An entry of a workspace. `path_base64` has the bytes of a path that is no UTF-8; `size` is that of files."""

    path: str
    type: FileType
    path_base64: str | None = None
    size: int | None = None
    modified_at: str | None = None
    media_type: str | None = None


class WorkspaceFiles(WireModel):
    """The entries below a directory; `truncated` if there are more."""

    items: list[WorkspaceFile]
    truncated: bool


class ChangeStatus(StrEnum):
    """How a file differs from the beginning."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"
    UNKNOWN = "unknown"


class FileChange(WireModel):
    """A file that differs from the beginning; numbers are of lines, and none for a binary or too large file."""

    path: str
    status: ChangeStatus
    path_base64: str | None = None
    old_path: str | None = None
    old_path_base64: str | None = None
    mode: str | None = None
    old_mode: str | None = None
    additions: int | None = None
    deletions: int | None = None
    binary: bool = False
    too_large: bool = False


class WorkspaceDiff(WireModel):
    """All files that differ from the beginning, or the first of them if `truncated`; the sums are those of all.

    `state` is the id of the state that was compared, by which its patch can be had.
    """

    files: list[FileChange]
    file_count: int
    additions: int
    deletions: int
    truncated: bool
    state: str | None = None


class ArchiveFormat(StrEnum):
    """The format of an archive."""

    TAR_GZ = "tar.gz"
    ZIP = "zip"


class PushCreate(WireModel):
    """The body of push_workspace."""

    branch: str
    repo: str | None = None
    message: str | None = None


class Push(WireModel):
    """The commit that was pushed, and the branch that has it now."""

    commit: str
    branch: str
