"""Agents that outlived a server which was killed: written down while they run, ended at the next start."""

import os
import signal
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19  # of the fields that follow the program's name


def record(directory: Path, leader: int) -> Path:
    """Write down a process group by its leader; the file is to be removed when the group has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / str(leader)
    file.write_text(f"{_boot()} {started(leader)}")
    return file


def reap(directory: Path) -> None:
    """End every group that is written down, unless its number has gone to another process since."""
    for file in directory.glob("[0-9]*"):
        leader = int(file.name)
        boot, _, then = file.read_text().partition(" ")
        # A leader that has ended leaves its number to its group for as long as the group lives.
        if boot == _boot() and started(leader) in (then, ""):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)
        file.unlink()


def started(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME]
    except OSError:
        return ""


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
