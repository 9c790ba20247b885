"""Many new files in one pack.

Git stores each new file as an object in a file of its own: for a hundred thousand of them that takes most of the time
of a comparison, and many times their size on disk. Here the contents of small files are stored in a pack first, so that
git finds them there when it adds the files. It still reads each file itself: a file that has changed meanwhile only
leaves an object that nothing needs.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from app.errors import ApiError
from app.git.repository import Repository
from app.workspaces.paths import Found, api_errors, find, open_directory, open_file

MANY = 1000
"""New files from which a pack is worth it."""

_SMALL = 2**15
_BATCH = 2**24
_COMMAND = ("fast-import", "--quiet", "--depth=0", "--done")


async def pack(repository: Repository, root: Path, paths: Iterable[bytes]) -> None:
    """Store the contents of the small files among these paths of a workspace. Raises as `Repository.run`."""
    batches = _batches(root, sorted(paths))
    while batch := await asyncio.to_thread(next, batches, None):
        await repository.run(*_COMMAND, input=batch + b"done\n")


def _batches(root: Path, paths: list[bytes]) -> Iterator[bytes]:
    """Yield commands for fast-import, with as many files as may be held in memory."""
    batch = bytearray()
    for directory, files in groupby(paths, lambda path: path.rpartition(b"/")[0]):
        for content in _contents(root, directory, files):
            batch += b"blob\ndata %d\n%b\n" % (len(content), content)
            if len(batch) >= _BATCH:
                yield bytes(batch)
                batch.clear()
    if batch:
        yield bytes(batch)


def _contents(root: Path, directory: bytes, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the contents of small files of a directory; what is no file, or cannot be read, has none."""
    with suppress(ApiError), api_errors(), find(root, directory) as found:
        opened = open_directory(found.name, found.directory)
        try:
            for path in paths:
                with suppress(ApiError, OSError):
                    name = path.rpartition(b"/")[2]
                    info = os.stat(name, dir_fd=opened, follow_symlinks=False)
                    if 0 < info.st_size <= _SMALL:
                        yield _read(Found(opened, name, info))
        finally:
            os.close(opened)


def _read(found: Found) -> bytes:
    descriptor = open_file(found)
    try:
        return os.read(descriptor, _SMALL)
    finally:
        os.close(descriptor)
