"""The machine that measures: a core for each part, how fast the measured one is, what processes have used."""

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
    """Which core each part has to itself; the same one twice where there are too few."""

    server: int
    platform: int
    load: int
    rest: int


@cache
def cores() -> Cores:
    """The cores of this process, dealt out."""
    return dealt(os.sched_getaffinity(0))


def dealt(mine: Iterable[int]) -> Cores:
    """A core for each part as far as there are; the first is the last to be used, for it has the interrupts."""
    order = sorted(mine, reverse=True)
    return Cores(*(order[min(number, len(order) - 1)] for number in range(4)))


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let this thread, and what it starts, run on one core only for the time of a block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def calibration_ms(core: int) -> float:
    """CPU milliseconds that one core takes for the same piece of Python: figures of two hours compare by it."""
    with pinned(core):
        start = time.thread_time()
        sum(i * i for i in range(1_500_000))
        return 1000 * (time.thread_time() - start)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads and descendants, those that ended and were waited for included."""
    ended = _seconds(_stat(f"/proc/{pid}/stat")[13:15])
    return time.clock_gettime(~pid << 3 | 2) + ended + _of_children(pid, cpu_seconds)


def main_thread_seconds(pid: int) -> float:
    """CPU time of the first thread of a process alone, to a hundredth of a second."""
    return _seconds(_stat(f"/proc/{pid}/task/{pid}/stat")[11:13])


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Millions of bytes that a process and its descendants hold now; at most held at once each with `VmHWM`."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(kib) * 1024 / 1e6 + _of_children(pid, lambda child: memory_mb(child, field))


def facts() -> dict[str, str]:
    """What a reader has to know of the machine."""
    ours = cores()
    crowd = "" if ours.server != ours.platform != ours.load else "; TOO FEW: server, platform and load share cores"
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(": ")[2] if model else platform.machine(),
        "cores": f"{os.cpu_count()}: server on {ours.server}, platform {ours.platform}, load {ours.load}{crowd}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": sys.version.split()[0],
        **{name: version(name) for name in MEASURED_BY},
    }


def _stat(file: str) -> list[str]:
    """The fields of a stat file behind the name of the command, which may hold anything; the first is the third."""
    return Path(file).read_text().rpartition(") ")[2].split()


def _seconds(ticks: Sequence[str]) -> float:
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _of_children(pid: int, figure: Callable[[int], float]) -> float:
    """The sum over the children of a process; what ends meanwhile counts for nothing."""
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += task.read_text().split()
    total = 0.0
    for child in children:
        with suppress(OSError):
            total += figure(int(child))
    return total
