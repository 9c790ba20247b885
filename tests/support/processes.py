"""Processes that tests have not started themselves."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and has not been waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it was not there, or has gone while it was read
        return False
