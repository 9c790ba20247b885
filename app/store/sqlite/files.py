"""Files of the server that nobody else on the machine may read: they hold what clients entrust to it."""

import os
from contextlib import suppress
from pathlib import Path

_OF_SQLITE = ("", "-wal", "-shm")  # it gives a new one the mode of the first


def private_database(file: Path) -> None:
    """See to it that a database of SQLite is there, if need be with its directory, and that only its owner can read it.

    A file that belongs to somebody else is left as it is. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDONLY | os.O_CREAT, 0o600))
    for each in (file.with_name(file.name + ending) for ending in _OF_SQLITE):
        with suppress(FileNotFoundError, PermissionError):
            each.chmod(each.stat().st_mode & 0o700)
