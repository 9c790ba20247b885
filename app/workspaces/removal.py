"""Removing the trees of agents, which may be deeper than can be recursed into or named by a path.

The files of a directory are unlinked, and directories in it are moved to the top before it is removed. So no path is
longer than two names, and a few file descriptors are enough. Links are not followed.
"""

import os
from contextlib import suppress
from pathlib import Path

_REFERENCE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it, read-only directories included; or a file or a link.

    Nothing needs to be there. Raises `OSError`.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    top = _open(os.fspath(path), None)
    try:
        while directories := _remove_files(top):
            for name in directories:
                _flatten(name, top)
    finally:
        os.close(top)
    path.rmdir()


def _flatten(name: str, top: int) -> None:
    """Remove a directory of the top one, to which those in it are moved."""
    directory = _open(name, top)
    try:
        for below in _remove_files(directory):
            os.close(_open(below, directory))  # only what is writable can be moved
            os.rename(below, f".{os.urandom(16).hex()}", src_dir_fd=directory, dst_dir_fd=top)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)


def _remove_files(directory: int) -> list[str]:
    """Remove what is in a directory, but directories; return their names."""
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
    return directories


def _open(name: str, parent: int | None) -> int:
    """Open a directory, which its owner may access from now on."""
    reference = os.open(name, _REFERENCE, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{reference}", 0o700)  # noqa: PTH101 - a directory that may not be opened yet
        return os.open(".", _DIRECTORY, dir_fd=reference)
    finally:
        os.close(reference)
