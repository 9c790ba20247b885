"""Opening paths of a workspace: never outside of it, and nothing of git's own.

A path is resolved one directory at a time, each opened relative to the one before and without following links. Links
are expanded here, so an agent that replaces a directory by a link meanwhile changes nothing. Paths are bytes, since
file names are.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from app.errors import StorageFull, WorkspaceFileNotFound, WorkspaceNotReady, WrongFileType
from app.real_paths import open_real
from app.workspace_paths import MAX_PARTS, parts

MAX_DEPTH = MAX_PARTS
"""Directories of a path, each of which takes a file descriptor while it is resolved."""

_MAX_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_GIT = b".git"


class Found(msgspec.Struct, frozen=True):
    """An entry of a directory that is open: its name in it, and its state, None if there is none of that name."""

    directory: int
    name: bytes
    info: os.stat_result | None


def is_git(name: bytes) -> bool:
    """Return whether a name is that of a repository's own files, which are never served."""
    return name.lower() == _GIT


@contextmanager
def find(root: Path, path: bytes, *, create: bool = False, git: bool = False, follow: bool = True) -> Iterator[Found]:
    """Yield where a path of a workspace leads once links are resolved; the directory is open until the end.

    With `create`, directories that are missing are made; with `git`, git's own files are found too; without `follow`, a
    link in the last place is found itself. The root itself is found as `.`. Raises `WorkspaceFileNotFound` if the path
    leads outside or to git's own files, and OSError if a directory is missing: `api_errors` has the API's for that.
    """
    directories = [_open_root(root)]
    try:
        yield _walk(root, path, directories, create=create, git=git, follow=follow)
    finally:
        for directory in directories:
            os.close(directory)


def _walk(root: Path, path: bytes, directories: list[int], *, create: bool, git: bool, follow: bool) -> Found:
    """Open the directories of a path one after the other, and return its last part.

    `directories` holds those that lead to the current one: `..` in a link goes back to the one before.
    """
    pending, links = parts(path)[::-1], 0
    while pending:
        part = pending.pop()
        if part == b"..":
            if len(directories) == 1:
                raise WorkspaceFileNotFound
            os.close(directories.pop())
            continue
        if (is_git(part) and not git) or len(directories) > MAX_DEPTH:
            raise WorkspaceFileNotFound
        info = _stat(directories[-1], part)
        if info and stat.S_ISLNK(info.st_mode) and (follow or pending):
            links += 1
            if links > _MAX_LINKS:
                raise WorkspaceFileNotFound
            target = os.readlink(part, dir_fd=directories[-1])
            if target.startswith(b"/"):
                target = _inside(root, target)
                while len(directories) > 1:
                    os.close(directories.pop())
            pending += parts(target)[::-1]
        elif not pending:
            return Found(directories[-1], part, info)
        else:
            if info is None and create:
                os.mkdir(part, 0o755, dir_fd=directories[-1])
            directories.append(open_directory(part, directories[-1]))
    return Found(directories[-1], b".", os.fstat(directories[-1]))


def open_file(found: Found) -> int:
    """Open a regular file for reading; `WorkspaceFileNotFound`, `WrongFileType`."""
    if found.info is None:
        raise WorkspaceFileNotFound
    if not stat.S_ISREG(found.info.st_mode):
        raise WrongFileType
    descriptor = os.open(found.name, _FILE, dir_fd=found.directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced since
        os.close(descriptor)
        raise WrongFileType
    return descriptor


def scan(root: Path, path: bytes, *, limit: int | None = None) -> list[tuple[bytes, os.stat_result]]:
    """Return the entries of a directory by name, and about `limit` of them at most; git's own are none."""
    listed: list[tuple[bytes, os.stat_result]] = []
    with find(root, path) as found:
        if found.info is None:
            raise WorkspaceFileNotFound
        directory = open_directory(found.name, found.directory)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if not is_git(name):
                        with suppress(FileNotFoundError):
                            listed.append((name, entry.stat(follow_symlinks=False)))
                    if limit is not None and len(listed) > limit:
                        break
        finally:
            os.close(directory)
    return sorted(listed)


def list_names(root: Path, path: bytes) -> list[bytes]:
    """Return the names in a directory in order; git's own are none. For directories of any size."""
    with find(root, path) as found:
        if found.info is None:
            raise WorkspaceFileNotFound
        directory = open_directory(found.name, found.directory)
        try:
            found_names = os.listdir(directory)  # noqa: PTH208 - an open directory
        finally:
            os.close(directory)
    return sorted(name for name in map(os.fsencode, found_names) if not is_git(name))


def open_directory(name: bytes, parent: int) -> int:
    """Open a directory of an open directory, but no link to one."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


@contextmanager
def api_errors() -> Iterator[None]:
    """Turn the errors of the file system into those of the API."""
    try:
        yield
    except PermissionError as error:
        raise WrongFileType("The server has no permission for this file.") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull from error
        if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise WrongFileType from error
        if error.errno in {errno.ENOENT, errno.ENAMETOOLONG, errno.EEXIST, errno.EINVAL}:
            raise WorkspaceFileNotFound from error
        raise


def _open_root(root: Path) -> int:
    try:
        return open_real(root)
    except OSError as error:
        raise WorkspaceNotReady from error


def _stat(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _inside(root: Path, target: bytes) -> bytes:
    """Return the part of an absolute path below the root, else raise `WorkspaceFileNotFound`."""
    prefix = os.fsencode(root) + b"/"
    if not (target + b"/").startswith(prefix):
        raise WorkspaceFileNotFound
    return target[len(prefix) :]
