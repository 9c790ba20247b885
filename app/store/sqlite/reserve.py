"""Disk space that is reserved, so that a deletion and the start after a crash succeed on a full disk."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

RESERVED_BYTES = 8 << 20
"""Enough to move the journal into the database file, which takes 4 MiB as a rule, and for one change after that."""


class Reserve:
    """A file beside the database that only takes up space; it exists while a server runs."""

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
