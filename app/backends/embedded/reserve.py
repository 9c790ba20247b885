"""Room on the disk that is kept back for deleting: what makes room has to work when there is none."""

import os
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 4 << 20
LEAST_BYTES = 64 << 10


class Reserve:
    """A file beside the store that holds nothing; there only while a server is at work."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")
        self.fill()

    def fill(self) -> None:
        """Keep back as much as there is room for, up to MOST_BYTES; nothing where the disk cannot do it."""
        size = MOST_BYTES
        with suppress(OSError), self._path.open("ab") as file:
            while size >= LEAST_BYTES and not _allocated(file.fileno(), size):
                size //= 2

    def free(self) -> None:
        """Let others have the room."""
        self._path.unlink(missing_ok=True)


def _allocated(file: int, size: int) -> bool:
    try:
        os.posix_fallocate(file, 0, size)
    except (OSError, AttributeError):  # macOS has no such call
        return False
    return True
