"""The files of a platform session as a list, one directory after the other, those near the top first."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from app.backends.ambient.workspace_files import Entry, PlatformFiles
from app.clock import rfc3339
from app.errors import ApiError, WorkspaceFileNotFound
from app.models.workspaces import FileType, WorkspaceFile
from app.results import StreamedBody
from app.workspace_paths import MAX_PARTS
from app.workspaces.listing import media_type

MAX_DIRECTORIES = 2_000
"""Directories of one list, each of which takes a request to the platform."""

_AT_ONCE = 8
_encode = msgspec.json.Encoder().encode


class Walk:
    """A walk below a directory, at most `depth` levels and `limit` entries; `truncated` once something was left out.

    A directory that was reached by a link has no contents. Neither has one that cannot be read, which counts as left
    out.
    """

    def __init__(self, files: PlatformFiles, path: str, *, depth: int | None, limit: int) -> None:
        self._files = files
        self._path = path
        self._depth = min(depth or MAX_PARTS, MAX_PARTS)
        self._left = limit
        self._requests = MAX_DIRECTORIES
        self.truncated = False

    async def directories(self) -> AsyncGenerator[list[tuple[str, Entry]], None]:
        """Yield the entries of each directory with their paths; raises as `PlatformFiles.list_directory` at first."""
        found = await self._files.list_directory(self._path)
        pending: deque[_Directory] = deque()
        yield self._take(_Directory(self._path, "", 1), found, pending)
        while pending and self._left and self._requests:
            batch = [pending.popleft() for _ in range(min(_AT_ONCE, self._requests, len(pending)))]
            self._requests -= len(batch)
            for directory, entries in zip(batch, await asyncio.gather(*map(self._scan, batch)), strict=True):
                yield self._take(directory, entries, pending)
        self.truncated |= bool(pending)

    async def _scan(self, directory: "_Directory") -> list[Entry]:
        try:
            entries = await self._files.scan(directory.path)
        except WorkspaceFileNotFound:  # a link to git's own files, or outside
            return []
        except ApiError:
            entries = None
        if entries is None:
            self.truncated = True
        return [entry for entry in entries or () if entry.parent == directory.location]

    def _take(
        self, directory: "_Directory", entries: list[Entry], pending: "deque[_Directory]"
    ) -> list[tuple[str, Entry]]:
        self.truncated |= len(entries) > self._left
        prefix = directory.path + "/" if directory.path else ""
        taken = [(prefix + entry.name, entry) for entry in entries[: self._left]]
        self._left -= len(taken)
        level = directory.level + 1
        below = [_Directory(path, entry.location, level) for path, entry in taken if entry.is_directory]
        if directory.level < self._depth:
            pending += below
        elif below and self._depth == MAX_PARTS:
            self.truncated = True
        return taken


class _Directory(NamedTuple):
    """A directory by its path, with the path after links are resolved if it is none that a link leads to."""

    path: str
    location: str
    level: int


def list_files(files: PlatformFiles, path: str, *, depth: int | None, limit: int) -> StreamedBody:
    """Return a `WorkspaceFiles` in JSON; see `Walk`."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        walk = Walk(files, path, depth=depth, limit=limit)
        before = b'{"items":['
        async with aclosing(walk.directories()) as directories:
            async for found in directories:
                if found:
                    yield before + b",".join(_encode(_public(name, entry)) for name, entry in found)
                    before = b","
        end = b'],"truncated":%b}' % (b"true" if walk.truncated else b"false")
        yield before + end if before != b"," else end

    return StreamedBody(chunks())


def _public(path: str, entry: Entry) -> WorkspaceFile:
    return WorkspaceFile(
        path=path,
        type=FileType.DIRECTORY if entry.is_directory else FileType.FILE,
        size=None if entry.is_directory else entry.size,
        modified_at=rfc3339(entry.modified_at),
        media_type=None if entry.is_directory else media_type(path),
    )
