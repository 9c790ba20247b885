"""How much of the disk a workspace takes."""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 512


class TooDeep(Exception):
    """A path in a tree is longer than the system takes, so that the tree cannot be measured."""


def disk_usage(root: Path) -> int:
    """Return the bytes of the blocks of everything below a directory, each inode once; `TooDeep`.

    Links are not followed.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    directories = deque([os.fspath(root)])
    while directories:
        with _as_far_as_possible(), os.scandir(directories.popleft()) as entries:
            for entry in entries:
                with _as_far_as_possible():
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        directories.append(entry.path)
                    elif info.st_nlink > 1:
                        if (inode := (info.st_dev, info.st_ino)) in linked:
                            continue
                        linked.add(inode)
                    total += info.st_blocks * _BLOCK
    return total


@contextmanager
def _as_far_as_possible() -> Iterator[None]:
    """Suppress OSError, for what has vanished or may not be read; `TooDeep` for a path that is too long."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise TooDeep from error
