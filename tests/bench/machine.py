"""The machine: a core for each part, the speed of the measured core, and the resource usage of processes."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

MEASURED_BY = ("connexion", "uvicorn", "uvloop", "httptools", "msgspec", "fastapi")


class Cores(NamedTuple):
    """The core of each part; parts share cores if there are too few."""

    server: int
    platform: int
    load: int
    other: int


@cache
def cores() -> Cores:
    """Return the cores of this process, assigned to the parts."""
    return assign(os.sched_getaffinity(0))


def assign(mine: Iterable[int]) -> Cores:
    """Assign a core to each part if there are enough. The first core is used last, because it handles interrupts."""
    order = sorted(mine, reverse=True)
    return Cores(*(order[min(number, len(order) - 1)] for number in range(4)))


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pin this thread, and the processes that it starts, to one core during the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def calibration_ms(core: int) -> float:
    """Return the CPU time in ms of the calibration loop on a core, by which figures of different runs are compared."""
    with pinned(core):
        start = time.thread_time()
        sum(i * i for i in range(1_500_000))
        return 1000 * (time.thread_time() - start)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads and descendants, including reaped ones."""
    ended = _seconds(_stat(f"/proc/{pid}/stat")[13:15])
    return time.clock_gettime(~pid << 3 | 2) + ended + _of_children(pid, cpu_seconds)


def main_thread_seconds(pid: int) -> float:
    """Return the CPU time of a process's main thread, with a resolution of 10 ms."""
    return _seconds(_stat(f"/proc/{pid}/task/{pid}/stat")[11:13])


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return the resident memory in MB of a process and its descendants; with `VmHWM` the sum of their peaks."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(kib) * 1024 / 1e6 + _of_children(pid, lambda child: memory_mb(child, field))


def facts() -> dict[str, str]:
    """Return facts about the machine for the report."""
    ours = cores()
    warning = "" if ours.server != ours.platform != ours.load else "; TOO FEW: server, platform and load share cores"
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(": ")[2] if model else platform.machine(),
        "cores": f"{os.cpu_count()}: server on {ours.server}, platform {ours.platform}, load {ours.load}{warning}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": sys.version.split()[0],
        **{name: version(name) for name in MEASURED_BY},
    }


def _stat(file: str) -> list[str]:
    """Return the fields of a stat file after the command's name, which may contain anything; the first is field 3."""
    return Path(file).read_text().rpartition(") ")[2].split()


def _seconds(ticks: Sequence[str]) -> float:
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _of_children(pid: int, figure: Callable[[int], float]) -> float:
    """Return the sum over the children of a process; children that end meanwhile are not counted."""
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += task.read_text().split()
    total = 0.0
    for child in children:
        with suppress(OSError):
            total += figure(int(child))
    return total
