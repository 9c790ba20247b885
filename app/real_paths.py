"""Directories at their real paths. Whoever can replace a part of a path by a link could have it lead anywhere."""

import os
from collections.abc import Iterable
from pathlib import Path

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SEARCHED = _DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)


def open_real(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open the directory at an absolute path; raise OSError if that, or a directory above it, is a link."""
    directory = os.open("/", _SEARCHED)
    for index, part in enumerate(path.parts[1:], start=2):
        above = directory
        try:
            directory = os.open(part, _SEARCHED if index < len(path.parts) else _DIRECTORY | flags, dir_fd=above)
        finally:
            os.close(above)
    return directory


def is_real(path: Path) -> bool:
    """Return whether there is a directory at an absolute path, and no part of that is a link."""
    return bool(identities([path]))


def identities(paths: Iterable[Path]) -> dict[str, str]:
    """Return device and inode, as `stat -c %d:%i` prints them, of those directories that are at their real paths."""
    found = {}
    for path in paths:
        try:
            directory = open_real(path)
        except OSError:
            continue
        info = os.fstat(directory)
        os.close(directory)
        found[str(path)] = f"{info.st_dev}:{info.st_ino}"
    return found
