"""Database files that only their owner can read, since they hold what clients entrust to the server."""

import os
from contextlib import suppress
from pathlib import Path

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
