"""One server per store: a second one would abort the first one's active runs as those of a crashed server."""

import fcntl
import os
from pathlib import Path

from app.errors import StorageUnavailable


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
