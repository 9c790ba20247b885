"""The files of a platform session, as the service in its pod tells of them.

The platform passes requests on to that service, which reads one directory or one whole file at a time, within four
seconds, and follows links as long as they stay within the workspace. It does not tell links from what they lead to; but
an entry has its path after links are resolved, so a directory that was reached by a link is recognised once it is
listed. Where the service cannot be reached or responds 404, the platform says that a directory is empty. Pipes and
devices look like empty files, and the service would wait for them forever: so a file without size is never read.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import NoReturn

import msgspec

from app.backends.ambient.api import RUNNER_IS_GONE, PlatformApi
from app.backends.ambient.resources import File
from app.clock import millis
from app.errors import (
    ApiError,
    BackendError,
    BackendTimeout,
    FileChanged,
    NotSupported,
    WorkspaceFileNotFound,
    WorkspaceNotReady,
    WrongFileType,
)
from app.models.caller import Caller

MAX_READ = 100 << 20
"""Bytes of a file that the platform, which holds it in memory, is asked for."""

_NOT_READ = "The platform could not read the file within its time limit."
_GIT = ".git"
_LARGEST = 2**63 - 1


class Missing(WorkspaceFileNotFound):
    """The workspace has no such file, or the path leads out of it."""

    code = WorkspaceFileNotFound.code


class Entry(msgspec.Struct, frozen=True):
    """A file or a directory by its name, with its path after links are resolved; the time is in ms since 1970."""

    name: str
    location: str
    is_directory: bool
    size: int
    modified_at: int | None

    @property
    def parent(self) -> str:
        """Return the path of its directory after links are resolved."""
        return self.location.rpartition("/")[0]


class PlatformFiles:
    """Client of the files of one running session, whose paths are texts without `..`, empty for the workspace itself.

    Methods raise `WorkspaceFileNotFound` for paths outside of the workspace or to git's own files, `Missing` where
    there is nothing, and `WorkspaceNotReady` if the session's runner cannot be reached.
    """

    def __init__(self, api: PlatformApi, caller: Caller, session_id: str) -> None:
        self._api = api
        self._caller = caller
        self._session_id = session_id

    async def list_directory(self, path: str) -> list[Entry]:
        """Return what is in a directory, without git's own files; `WrongFileType` if it is none."""
        entries = await self.scan(path)
        if entries is None:
            await self._explain(
                path, BackendTimeout("The platform could not list the directory within its time limit.")
            )
        if await self._find_file(path, entries):
            raise WrongFileType
        return entries

    async def scan(self, path: str) -> list[Entry] | None:
        """Return what is in a directory; of a file that alone. None if the platform could not find out."""
        listed = await self._api.list_files(self._caller, self._session_id, path)
        if listed is None:
            return None
        entries = [entry for file in listed if (entry := _entry(file))]
        if any(_is_git(entry.parent) for entry in entries):
            raise WorkspaceFileNotFound
        return [entry for entry in entries if entry.name.lower() != _GIT]

    async def find_file(self, path: str) -> Entry:
        """Return a file; `WrongFileType` if it is a directory."""
        entries = await self.scan(path)
        if entries is None:
            await self._explain(path, WrongFileType())
        if file := await self._find_file(path, entries):
            return file
        raise WrongFileType

    async def _find_file(self, path: str, entries: list[Entry]) -> Entry | None:
        """Return the file whose path was listed with this result; None if it was a directory.

        A directory with one file, reached by a link, is listed like a link to that file.
        """
        if len(entries) != 1 or entries[0].is_directory or not path:
            return None
        [entry] = entries
        if entry.parent == path:
            return None
        if entry.location != path:
            directory, _, name = path.rpartition("/")
            for sibling in await self.scan(directory) or ():
                if sibling.name == name and sibling.is_directory:
                    return None
        return entry

    async def _explain(self, path: str, is_directory: ApiError) -> NoReturn:
        """Raise why the platform could not find out what is at a path.

        Reading a directory fails in another way than reading a missing file, or asking a runner that is gone.
        """
        try:
            async with aclosing(self.read(path)) as pieces:
                await anext(pieces, b"")
        except WrongFileType as error:
            raise is_directory from error
        raise FileChanged

    async def read(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file's content, which is not empty; `WrongFileType` if it is none that can be read."""
        try:
            async with aclosing(self._api.read_file(self._caller, self._session_id, path)) as pieces:
                head = await anext(pieces)
                if head.status == HTTPStatus.NOT_FOUND:
                    raise Missing
                size = 0
                async for piece in pieces:
                    size += len(piece.body)
                    if size > MAX_READ:
                        raise too_large()
                    yield piece.body
        except BackendError as error:
            raise _explained(error) from error


def too_large() -> NotSupported:
    """Return the error for a file that the platform is not asked for."""
    return NotSupported(f"The platform hands out whole files; this one has more than {MAX_READ >> 20} MiB.")


def _explained(error: BackendError) -> ApiError:
    """Return the error that the failure of a request for a file stands for."""
    match error.backend_status, error.message:
        case HTTPStatus.SERVICE_UNAVAILABLE, _:
            return WorkspaceNotReady(RUNNER_IS_GONE)
        case HTTPStatus.INTERNAL_SERVER_ERROR, "read failed":
            return WrongFileType()
        case HTTPStatus.INTERNAL_SERVER_ERROR, "Failed to read file from runner":
            return BackendTimeout(_NOT_READ)
        case ((HTTPStatus.BAD_REQUEST | HTTPStatus.INTERNAL_SERVER_ERROR), _):  # outside, or links in a circle
            return WorkspaceFileNotFound()
    return error


def _entry(file: File) -> Entry | None:
    """Return an entry that the platform has listed, None if it cannot be one of a workspace."""
    name, path = file.name or "", file.path or ""
    parts = path.split("/")
    is_path = parts[0] == "" and parts[-1] == name and not {"", ".", ".."}.intersection(parts[1:])
    if not is_path or "\0" in path or file.size is None or not 0 <= file.size <= _LARGEST:
        return None
    return Entry(name, path[1:], bool(file.is_dir), file.size, millis(file.modified_at))


def _is_git(path: str) -> bool:
    return _GIT in path.lower().split("/")
