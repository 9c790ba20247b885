"""The disk of a worker: its data directory, with an id that stays, and a lock for each worker that is at work there.

Workers that see the same directory share its id, and with it the sessions that have their workspaces there. A lock
tells for certain that a worker of the same directory is dead, before its heartbeats have been missed for long.
"""

import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{16}")


class DiskError(Exception):
    """The data directory of a worker cannot be used; the message is for its operator."""


class Disk:
    """A data directory as the worker `name` uses it until `release`; raises `DiskError`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._locks = directory / "workers"
        self._own = self._locks / name
        try:
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.id = read_disk_id(directory)
            self._descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DiskError(f"The data directory {directory} cannot be used: {error.strerror}.") from error

    def is_dead(self, name: str) -> bool:
        """Return whether another worker of this directory is known to have ended."""
        try:
            descriptor = os.open(self._locks / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def is_shared(self) -> bool:
        """Return whether there is another worker of this directory."""
        return any(path != self._own and not self.is_dead(path.name) for path in self._locks.iterdir())

    def forget(self, name: str) -> None:
        """Remove the lock of a worker that has ended."""
        (self._locks / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Give up the own lock."""
        self._own.unlink(missing_ok=True)
        os.close(self._descriptor)


def read_disk_id(directory: Path) -> str:
    """Return the id of a data directory, which is made once, whoever comes first; raises `DiskError`, `OSError`."""
    file = directory / "disk-id"
    made = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    made.write_text(secrets.token_hex(8), encoding="ascii")
    try:
        with suppress(FileExistsError):
            os.link(made, file)
    finally:
        made.unlink()
    found = file.read_text(encoding="ascii")
    if not _ID.fullmatch(found):
        raise DiskError(f"The file {file} holds no id of a disk.")
    return found
