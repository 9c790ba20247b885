"""Room on the disk that is kept back: deleting, and a start after a crash, have to work when there is none."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 8 << 20
"""As much as emptying the journal takes, which has 4 MiB as a rule, and a change after that."""


class Reserve:
    """A file beside the store that holds nothing; there only while a server is at work."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")
        self.fill()

    def fill(self) -> None:
        """Keep back up to MOST_BYTES, but leave half of the room to others; nothing where the system cannot do it."""
        with suppress(OSError, AttributeError), self._path.open("ab") as file:  # macOS has no such call
            size = min(MOST_BYTES, file.tell() + self._room() // 2)
            os.posix_fallocate(file.fileno(), 0, size)

    def free(self) -> None:
        """Let others have the room."""
        self._path.unlink(missing_ok=True)

    def is_needed(self) -> bool:
        """Whether there is hardly any room but this."""
        return self._room() < MOST_BYTES

    def _room(self) -> int:
        return shutil.disk_usage(self._path.parent).free
