"""Files of a workspace: listed, read and written, whatever its agent does with them meanwhile.

Nothing is held open between two steps, and no step blocks the event loop.
"""

import asyncio
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import suppress
from pathlib import Path

from app.errors import FileChanged, WrongFileType
from app.results import FileContent, FileWritten
from app.workspace_paths import public_path
from app.workspaces.paths import Found, api_errors, find, open_file
from app.workspaces.threads import in_thread

CHUNK = 2**20


# Reading


async def read_file(root: Path, path: bytes) -> FileContent:
    """Return a regular file of the workspace.

    Raises `WorkspaceFileNotFound`, `WrongFileType`, and while it is read `FileChanged` if it is replaced, overwritten
    or truncated meanwhile. A file that only grows is returned as long as it was.
    """
    info = await asyncio.to_thread(_stat_file, root, path)

    async def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            chunk = await asyncio.to_thread(_read_chunk, root, path, start, min(start + CHUNK, end), info)
            start += len(chunk)
            yield chunk

    name = public_path(path)[0].rpartition("/")[2]
    return FileContent(info.st_size, _etag(info), read, name)


async def read_whole(root: Path, path: bytes, limit: int) -> bytes | None:
    """Return the content of a file, None if that is more than `limit` bytes; raises as reading it with `read_file`."""
    file = await read_file(root, path)
    if file.size > limit:
        return None
    return b"".join([chunk async for chunk in file.read(0, file.size)])


def _stat_file(root: Path, path: bytes) -> os.stat_result:
    with api_errors(), find(root, path) as found:
        descriptor = open_file(found)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)


def _read_chunk(root: Path, path: bytes, start: int, end: int, before: os.stat_result) -> bytes:
    with api_errors(), find(root, path) as found:
        descriptor = open_file(found)
        try:
            chunk = os.pread(descriptor, end - start, start)
            now = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    is_same = _etag(now) == _etag(before)
    has_grown = now.st_ino == before.st_ino and now.st_size > before.st_size
    if not chunk or not (is_same or has_grown):
        raise FileChanged
    return chunk


def _etag(info: os.stat_result) -> str:
    state = f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"
    return hashlib.sha256(state.encode()).hexdigest()[:32]


# Writing


async def write_file(root: Path, path: bytes, content: AsyncIterable[bytes], staging: Path) -> FileWritten:
    """Write a file of the workspace, with the directories that it needs; a link to a file writes that file.

    It appears once it is complete: until then it is in `staging`, a directory of the server's, which is best on the
    same disk. Raises `WorkspaceFileNotFound` for a path that leads outside, `WrongFileType`, `StorageFull`,
    and whatever `content` raises.
    """
    with api_errors():
        await asyncio.to_thread(_check_target, root, path)
        await asyncio.to_thread(os.makedirs, staging, 0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=staging)  # not in a thread: it would be left over by a cancellation
        try:
            await _receive(descriptor, content)
            return await in_thread(_move_into, root, path, name, descriptor)
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - for the same reason


async def _receive(descriptor: int, content: AsyncIterable[bytes]) -> None:
    buffered = bytearray()
    async for chunk in content:
        buffered += chunk
        if len(buffered) >= CHUNK:
            await in_thread(_write_all, descriptor, bytes(buffered))
            buffered.clear()
    await in_thread(_write_all, descriptor, bytes(buffered))


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _check_target(root: Path, path: bytes) -> None:
    """Raise before the body is read where that is known, without making directories."""
    with suppress(FileNotFoundError), find(root, path) as found:
        _mode_for(found)


def _mode_for(found: Found) -> int:
    """Return the mode of a file that is about to be written: that of the one which it replaces."""
    if found.info is None:
        return 0o644
    if not stat.S_ISREG(found.info.st_mode):
        raise WrongFileType
    return stat.S_IMODE(found.info.st_mode) & 0o777


def _move_into(root: Path, path: bytes, source: str, descriptor: int) -> FileWritten:
    with find(root, path, create=True) as found:
        os.fchmod(descriptor, _mode_for(found))
        os.fsync(descriptor)
        try:
            os.rename(source, found.name, dst_dir_fd=found.directory)
            info = os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            info = _copy_into(found, descriptor)
        os.fsync(found.directory)
        return FileWritten(_etag(info))


def _copy_into(found: Found, descriptor: int) -> os.stat_result:
    """Copy a file into a directory on another disk, under another name first, since only a rename is atomic."""
    name = b".upload-%s" % os.urandom(8).hex().encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(name, flags, 0o600, dir_fd=found.directory)
    try:
        for chunk in _chunks(descriptor):
            _write_all(target, chunk)
        os.fchmod(target, stat.S_IMODE(os.fstat(descriptor).st_mode))
        os.fsync(target)
        os.rename(name, found.name, src_dir_fd=found.directory, dst_dir_fd=found.directory)
        return os.fstat(target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=found.directory)
        raise
    finally:
        os.close(target)


def _chunks(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while chunk := os.pread(descriptor, CHUNK, offset):
        offset += len(chunk)
        yield chunk
