"""Workspace: a session's files and their changes."""

from collections.abc import AsyncIterable

from app.models.caller import Caller
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff, WorkspaceFiles
from app.port.backend import Backend
from app.results import FileContent, FileWritten, Idempotent, StreamedBody
from app.workspace_paths import parse_path


async def list_workspace_files(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    path: str | None,
    path_base64: str | None,
    depth: int | None,
    limit: int,
) -> WorkspaceFiles | StreamedBody:
    """List what is in the workspace, or below one of its directories."""
    directory = parse_path(path, path_base64)
    return await backend.workspaces.list_workspace_files(caller, session_id, path=directory, depth=depth, limit=limit)


async def read_workspace_file(
    backend: Backend, caller: Caller, *, session_id: str, path: str | None, path_base64: str | None
) -> FileContent:
    """Read a file."""
    return await backend.workspaces.read_workspace_file(caller, session_id, path=parse_path(path, path_base64))


async def write_workspace_file(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    path: str | None,
    path_base64: str | None,
    body: AsyncIterable[bytes],
) -> FileWritten:
    """Write a file."""
    file = parse_path(path, path_base64)
    return await backend.workspaces.write_workspace_file(caller, session_id, path=file, content=body)


async def get_workspace_archive(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    path: str | None,
    path_base64: str | None,
    format: ArchiveFormat,
) -> StreamedBody:
    """Get the workspace, or one of its directories, as an archive."""
    directory = parse_path(path, path_base64)
    return await backend.workspaces.get_workspace_archive(caller, session_id, path=directory, format=format)


async def get_workspace_diff(
    backend: Backend, caller: Caller, *, session_id: str, path: str | None, path_base64: str | None, limit: int
) -> WorkspaceDiff:
    """List the files that differ from the beginning."""
    directory = parse_path(path, path_base64)
    return await backend.workspaces.get_workspace_diff(caller, session_id, path=directory, limit=limit)


async def get_workspace_patch(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    path: str | None,
    path_base64: str | None,
    state: str | None,
) -> StreamedBody:
    """Get the differences as a patch."""
    directory = parse_path(path, path_base64)
    return await backend.workspaces.get_workspace_patch(caller, session_id, path=directory, state=state)


async def push_workspace(backend: Backend, caller: Caller, *, session_id: str, body: PushCreate) -> Idempotent[Push]:
    """Commit what is there and push it to a branch."""
    return await backend.workspaces.push_workspace(caller, session_id, body)
