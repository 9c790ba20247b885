"""The files of a workspace as a list, level by level, so that a list that is truncated has what is near the top."""

import asyncio
import mimetypes
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import msgspec

from app.clock import rfc3339
from app.errors import ApiError
from app.models.workspaces import FileType, WorkspaceFile
from app.results import StreamedBody
from app.workspace_paths import public_path
from app.workspaces.paths import MAX_DEPTH, api_errors, scan

_BATCH = 1000
_TYPES = {stat.S_IFREG: FileType.FILE, stat.S_IFDIR: FileType.DIRECTORY, stat.S_IFLNK: FileType.LINK}
_media_types = mimetypes.MimeTypes()  # those of Python alone, the same on every machine
_media_types.add_type("text/markdown", ".md")
_encode = msgspec.json.Encoder().encode


def list_files(root: Path, path: bytes, *, depth: int | None, limit: int) -> StreamedBody:
    """Return a `WorkspaceFiles` in JSON: what is below a directory, at most `depth` levels and `limit` entries.

    Links are listed and not followed, git's own files are left out. A directory that vanishes
    meanwhile, or may not be read, is empty. Raises `WorkspaceFileNotFound`, `WrongFileType`.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        files = _Walk(root, path, min(depth or MAX_DEPTH, MAX_DEPTH), limit)
        batches = files.batches()
        before = b'{"items":['
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield before + batch
            before = b","
        end = b'],"truncated":%b}' % (b"true" if files.truncated else b"false")
        yield before + end if before != b"," else end

    return StreamedBody(chunks())


class _Walk:
    """One walk over the files of a directory; `truncated` once something was left out."""

    def __init__(self, root: Path, path: bytes, depth: int, limit: int) -> None:
        self._root = root
        self._path = path
        self._depth = depth
        self._limit = limit
        self.truncated = False

    def batches(self) -> Iterator[bytes]:
        """Yield entries in JSON, separated by commas."""
        with api_errors():
            scan(self._root, self._path)  # raises, while later directories may vanish
        batch: list[bytes] = []
        for entry in self._entries():
            batch.append(_encode(entry))
            if len(batch) == _BATCH:
                yield b",".join(batch)
                batch.clear()
        if batch:
            yield b",".join(batch)

    def _entries(self) -> Iterator[WorkspaceFile]:
        count = 0
        directories = deque([(self._path, 1)])
        while directories:
            directory, level = directories.popleft()
            for name, info in self._scan_if_there(directory):
                if count == self._limit:
                    self.truncated = True
                    return
                count += 1
                path = directory + b"/" + name if directory else name
                yield _public(path, info)
                if stat.S_ISDIR(info.st_mode):
                    if level < self._depth:
                        directories.append((path, level + 1))
                    elif self._depth == MAX_DEPTH:
                        self.truncated = True

    def _scan_if_there(self, directory: bytes) -> list[tuple[bytes, os.stat_result]]:
        try:
            with api_errors():
                return scan(self._root, directory, limit=self._limit)
        except ApiError:
            return []


def _public(path: bytes, info: os.stat_result) -> WorkspaceFile:
    text, encoded = public_path(path)
    kind = _TYPES.get(stat.S_IFMT(info.st_mode), FileType.OTHER)
    is_file = kind is FileType.FILE
    return WorkspaceFile(
        path=text,
        path_base64=encoded,
        type=kind,
        size=info.st_size if is_file else None,
        modified_at=rfc3339(info.st_mtime_ns // 1_000_000),
        media_type=media_type(text) if is_file else None,
    )


def media_type(path: str) -> str | None:
    """Return the media type that the name of a file suggests, None if it suggests none."""
    return _media_types.guess_type(path.rpartition("/")[2])[0]
