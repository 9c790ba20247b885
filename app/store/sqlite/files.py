"""The files of a store: the database, readable by its owner alone, its lock, and the space in reserve.

A store has one server: a second one would abort the first one's active runs as those of a crashed server. Disk space is
reserved, so that a deletion and the start after a crash succeed on a full disk.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from app.errors import StorageUnavailable

RESERVED_BYTES = 8 << 20
"""Enough to move the journal into the database file, which takes 4 MiB as a rule, and for one change after that."""

_SUFFIXES = ("", "-wal", "-shm")  # SQLite gives a new one of the others the mode of the first


def create_private_database(file: Path) -> None:
    """Create an empty database file if there is none, with its directory, and take away other users' permissions.

    Files of another owner are left as they are. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDONLY | os.O_CREAT, 0o600))
    for each in (file.with_name(file.name + suffix) for suffix in _SUFFIXES):
        with suppress(FileNotFoundError, PermissionError):
            each.chmod(each.stat().st_mode & 0o700)


class StoreLock:
    """A lock on a file beside the store, which the system releases however the process ends.

    Creating it raises `StorageUnavailable` while another process holds it.
    """

    def __init__(self, database: Path) -> None:
        path = database.with_name(f"{database.name}.lock")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise StorageUnavailable("Another server uses this session store.") from error

    def release(self) -> None:
        """Let another server use the store."""
        os.close(self._file)


class Reserve:
    """A file beside the database that reserves disk space while a server runs."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")
        self.fill()

    def fill(self) -> None:
        """Reserve up to RESERVED_BYTES, but at most half of what is free; nothing on a system that cannot (macOS)."""
        with suppress(OSError, AttributeError), self._path.open("ab") as file:
            size = min(RESERVED_BYTES, os.fstat(file.fileno()).st_size + self._free_bytes() // 2)
            os.posix_fallocate(file.fileno(), 0, size)

    def release(self) -> None:
        """Give the space back to the disk."""
        self._path.unlink(missing_ok=True)

    def is_needed(self) -> bool:
        """Return whether the disk has hardly any other space."""
        return self._free_bytes() < RESERVED_BYTES

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._path.parent).free
