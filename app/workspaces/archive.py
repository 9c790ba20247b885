"""A workspace as an archive, made while it is sent."""

import io
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from app.errors import ApiError, FileChanged, WrongFileType
from app.models.workspaces import ArchiveFormat
from app.results import StreamedBody
from app.workspaces.archive_writer import CHUNK, archive_writer
from app.workspaces.paths import MAX_DEPTH, api_errors, find, list_names, open_directory, open_file
from app.workspaces.threads import steps

_WHOLE = 2**20
"""Bytes of a file that is read before its size is written; a larger one must not shrink meanwhile."""


class _Entry(msgspec.Struct, frozen=True):
    """A directory, a link or a regular file, by its path in the archive and in the workspace."""

    name: bytes
    path: bytes
    info: os.stat_result


def archive(root: Path, path: bytes, format: ArchiveFormat, name: str) -> StreamedBody:
    """Return the contents of a directory as a tar.gz or ZIP file, which is called after `name`.

    Links are links in it. Git's own files are left out, and so are devices, pipes and what vanishes meanwhile. Raises
    `WorkspaceFileNotFound`, `WrongFileType`, and `FileChanged` if a large file shrinks while it is read.
    """
    return StreamedBody(steps(_write(root, _entries(root, path), format)), f"{name}.{format}")


def _write(root: Path, entries: Generator[_Entry, None, None], format: ArchiveFormat) -> Generator[bytes, None, None]:
    with closing(entries), closing(archive_writer(format)) as writer:
        for entry in entries:
            mode, mtime = entry.info.st_mode, entry.info.st_mtime
            if stat.S_ISDIR(mode):
                writer.add_directory(entry.name, mode, mtime)
            elif stat.S_ISLNK(mode):
                if (target := _read_link(root, entry)) is not None:
                    writer.add_link(entry.name, mode, mtime, target)
            elif stat.S_ISREG(mode) and (file := _open(root, entry)):
                with file:
                    size, chunks = _contents(file)
                    writer.begin_file(entry.name, mode, mtime, size)
                    for chunk in chunks:
                        writer.write(chunk)
                        if ready := writer.take():
                            yield ready
                    writer.end_file()
            if ready := writer.take():
                yield ready
        yield writer.end()


def _entries(root: Path, top: bytes) -> Generator[_Entry, None, None]:
    """Yield what is below a directory, each directory before its contents."""
    prefix = top + b"/" if top else b""
    with api_errors():
        pending = [(b"", list_names(root, top)[::-1])]
    while pending:
        directory, names = pending[-1]
        if not names:
            pending.pop()
            continue
        name = directory + names.pop()
        try:
            with api_errors(), _parent(root, prefix + name) as (parent, last):
                entry = _Entry(name, prefix + name, os.stat(last, dir_fd=parent, follow_symlinks=False))
        except ApiError:
            continue
        yield entry
        if stat.S_ISDIR(entry.info.st_mode):
            if name.count(b"/") >= MAX_DEPTH - 1:
                raise WrongFileType("The workspace has directories that are too deep for an archive.")
            with suppress(ApiError), api_errors():
                pending.append((name + b"/", list_names(root, entry.path)[::-1]))


@contextmanager
def _parent(root: Path, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the directory of a path, which is open until the end, and its name there."""
    directory, _, name = path.rpartition(b"/")
    with find(root, directory) as found:
        parent = open_directory(found.name, found.directory)
        try:
            yield parent, name
        finally:
            os.close(parent)


def _open(root: Path, entry: _Entry) -> io.FileIO | None:
    """Open a regular file; None if it is none any more."""
    try:
        with api_errors(), find(root, entry.path) as found:
            return io.FileIO(open_file(found))
    except ApiError:
        return None


def _read_link(root: Path, entry: _Entry) -> bytes | None:
    try:
        with api_errors(), _parent(root, entry.path) as (parent, name):
            return os.readlink(name, dir_fd=parent)
    except ApiError:
        return None


def _contents(file: io.FileIO) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a file, and its bytes, exactly so many; `FileChanged` if there are fewer by then."""
    size = os.fstat(file.fileno()).st_size
    if size <= _WHOLE:
        content = file.read(_WHOLE) or b""
        return len(content), (part for part in (content,))

    def chunks() -> Generator[bytes, None, None]:
        left = size
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                raise FileChanged
            left -= len(chunk)
            yield chunk

    return size, chunks()
