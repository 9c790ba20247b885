"""Workspaces of the platform: their files as far as its pods serve them. It offers no changes and no push."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import NoReturn

from app.backends.ambient.api import PlatformApi
from app.backends.ambient.workspace_archive import archive
from app.backends.ambient.workspace_files import MAX_READ, Missing, PlatformFiles, too_large
from app.backends.ambient.workspace_listing import list_files
from app.errors import (
    FileChanged,
    NotSupported,
    PayloadTooLarge,
    WorkspaceFileNotFound,
    WorkspaceNotReady,
    WrongFileType,
)
from app.models.caller import Caller
from app.models.workspaces import ArchiveFormat, Push, PushCreate, WorkspaceDiff
from app.port.workspaces import Workspaces
from app.results import FileContent, FileWritten, Idempotent, StreamedBody
from app.workspaces.paths import is_git

MAX_WRITE = 10 << 20
"""Bytes of a file that the platform is sent, which is as much as its own pages send it."""

_SMALL = 1 << 20
"""Bytes of a file that is buffered between its tag and its content; a larger one is fetched twice."""

_WRITERS = 4
"""Files that are held in memory at the same time while they are sent."""


class AmbientWorkspaces(Workspaces):
    """Operations on the workspace of a session, which the platform has while the session runs."""

    def __init__(self, platform: PlatformApi) -> None:
        self._platform = platform
        self._writers = asyncio.Semaphore(_WRITERS)

    async def list_workspace_files(
        self, caller: Caller, session_id: str, *, path: bytes, depth: int | None, limit: int
    ) -> StreamedBody:
        """Return the entries as they are found; `WorkspaceNotReady` unless the session runs."""
        files, directory = await self._open(caller, session_id, path)
        return list_files(files, directory, depth=depth, limit=limit)

    async def read_workspace_file(self, caller: Caller, session_id: str, *, path: bytes) -> FileContent:
        """Return a file, whose tag is a hash of its content; `NotSupported` for a file that is too large."""
        files, name = await self._open(caller, session_id, path)
        return await read_file(files, name)

    async def write_workspace_file(
        self, caller: Caller, session_id: str, *, path: bytes, content: AsyncIterable[bytes]
    ) -> FileWritten:
        """Write a file once all of it is there; `PayloadTooLarge` beyond what the platform is sent."""
        files, name = await self._open(caller, session_id, path)
        await _check_target(files, name)
        digest, size = hashlib.sha256(), 0
        with SpooledTemporaryFile(max_size=_SMALL) as spooled:
            async for chunk in content:
                digest.update(chunk)
                size += len(chunk)
                if size > MAX_WRITE:
                    raise PayloadTooLarge(f"The platform takes files of at most {MAX_WRITE >> 20} MiB.")
                spooled.write(chunk)
            spooled.seek(0)
            async with self._writers:
                await self._platform.write_file(caller, session_id, name, spooled.read())
        return FileWritten(_tag(digest.hexdigest()))

    async def get_workspace_archive(
        self, caller: Caller, session_id: str, *, path: bytes, format: ArchiveFormat
    ) -> StreamedBody:
        """Return an archive of what can be listed and read, one file after the other."""
        files, directory = await self._open(caller, session_id, path)
        return archive(files, directory, format, directory.rpartition("/")[2] or session_id, read_file)

    async def get_workspace_diff(
        self,
        caller: Caller,
        session_id: str,
        *,
        path: bytes,  # noqa: ARG002
        limit: int,  # noqa: ARG002
    ) -> WorkspaceDiff:
        """Raise `NotSupported`."""
        await self._refuse(caller, session_id)

    async def get_workspace_patch(
        self,
        caller: Caller,
        session_id: str,
        *,
        path: bytes,  # noqa: ARG002
        state: str | None,  # noqa: ARG002
    ) -> StreamedBody:
        """Raise `NotSupported`."""
        await self._refuse(caller, session_id)

    async def push_workspace(self, caller: Caller, session_id: str, wanted: PushCreate) -> Idempotent[Push]:  # noqa: ARG002
        """Raise `NotSupported`."""
        await self._refuse(caller, session_id)

    async def _refuse(self, caller: Caller, session_id: str) -> NoReturn:
        await self._platform.get_session(caller, session_id)
        raise NotSupported("The platform neither compares workspaces nor pushes them; its agents use git themselves.")

    async def _open(self, caller: Caller, session_id: str, path: bytes) -> tuple[PlatformFiles, str]:
        """Return the files of a session that runs, and the path as the platform takes it."""
        session = await self._platform.get_session(caller, session_id)
        if session.status.phase != "Running":
            raise WorkspaceNotReady("The platform serves the files of a session only while it runs; start it.")
        try:
            text = path.decode()
        except UnicodeDecodeError as error:  # it replaces such bytes by others
            raise WorkspaceFileNotFound from error
        if any(map(is_git, path.split(b"/"))):
            raise WorkspaceFileNotFound
        return PlatformFiles(self._platform, caller, session_id), text


async def read_file(files: PlatformFiles, path: str) -> FileContent:
    """Return a file, which is fetched to the end, since only its content tells its state; see `PlatformFiles`."""
    found = await files.find_file(path)
    if found.size > MAX_READ:
        raise too_large()
    digest, size, buffered = hashlib.sha256(), 0, bytearray()
    if found.size:
        async with aclosing(files.read(path)) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                if size <= _SMALL:
                    buffered += piece
    state = digest.hexdigest()

    async def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
        if size <= _SMALL:
            yield bytes(buffered[start:end])
            return
        async for part in _read_again(files, path, start, end, state):
            yield part

    return FileContent(size, _tag(state), read, path.rpartition("/")[2])


async def _read_again(files: PlatformFiles, path: str, start: int, end: int, state: str) -> AsyncGenerator[bytes, None]:
    """Yield a part of a large file; `FileChanged` before its last bytes if the file is not the one that it was."""
    digest, position, held = hashlib.sha256(), 0, b""
    async with aclosing(files.read(path)) as pieces:
        async for piece in pieces:
            digest.update(piece)
            part = piece[max(0, start - position) : max(0, end - position)]
            position += len(piece)
            if part:
                if held:
                    yield held
                held = part
    if digest.hexdigest() != state:
        raise FileChanged
    yield held


def _tag(state: str) -> str:
    return state[:32]


async def _check_target(files: PlatformFiles, path: str) -> None:
    """Raise before the body is read if a file cannot be written, or leads to git's own files by a link.

    The platform makes missing directories, so the nearest one above that is there decides.
    """
    if not path:
        raise WrongFileType
    place = path
    while place:
        try:
            await (files.find_file(place) if place == path else files.list_directory(place))
        except Missing:
            place = place.rpartition("/")[0]
        else:
            return
