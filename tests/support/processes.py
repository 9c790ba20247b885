"""Processes that tests have not started themselves, and open files of this one."""

from contextlib import suppress
from pathlib import Path


def working_in(place: str) -> dict[int, int]:
    """Return the processes whose working directory has `place` in its path: their ids here, by those they know.

    A process in a sandbox has another id outside of it. One that has ended and has not been waited for is none.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if place in str((process / "cwd").readlink()):
                status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
                found[int(status["NSpid"].split()[-1])] = int(process.name)
    return found


def alive(pid: int, place: str) -> bool:
    """Return whether a process that knows itself as `pid` works in a directory whose path has `place` in it."""
    return pid in working_in(place)


def open_below(directory: Path) -> list[str]:
    """Return what this process has open of a directory: itself, and what is below it."""
    return [path for path in _opened() if f"{path}/".startswith(f"{directory}/")]


def open_pipes() -> list[str]:
    """Return the pipes that this process has open."""
    return [name for name in _opened() if name.startswith("pipe:")]


def _opened() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(str(entry.readlink()))
    return found
