"""The watch over a process tree in the sandbox. `init.py` runs it, as one program of the standard library alone."""

import os
import signal
import time
from contextlib import suppress

BUSY_SECONDS, IDLE_SECONDS = 0.1, 0.3
"""Between two looks at how many have been started: until they have been idle for ACTIVE_SECONDS, and after."""
ACTIVE_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""Between two full looks while the memory does not grow."""
BURST = 64


class Watch:
    """Watches over the processes of this namespace: their memory in bytes, and the number of their threads.

    The system has no limit for them together, where it does not let this user make control groups. Processes may
    multiply faster than they can be looked at. So where many have been started, all are stopped for the look.
    """

    def __init__(self, memory: int, threads: int) -> None:
        self.wait = BUSY_SECONDS
        self._most_memory = memory
        self._most_threads = threads
        self._memory = 0
        self._threads = 0
        self._started = 0  # threads since the last look
        self._last_id = _last_id()
        self._due = 0.0
        self._active = 0.0

    def look(self) -> str | None:
        """Return which limit is exceeded, `memory` or `processes`; all processes are stopped then."""
        last_id = _last_id()
        self._started += last_id - self._last_id if last_id >= self._last_id else self._most_threads
        self._last_id = last_id
        if time.monotonic() < self._due and self._threads + self._started <= self._most_threads:
            return None
        is_burst, before = self._started > BURST, self._memory
        if is_burst:
            _signal_all(signal.SIGSTOP)
        exceeded = self._measure()
        if exceeded:
            _signal_all(signal.SIGSTOP)
            return exceeded
        if is_burst:
            _signal_all(signal.SIGCONT)
        now = time.monotonic()
        if self._started or self._memory > before:
            self._active = now
        self._started = 0
        self.wait = BUSY_SECONDS if now < self._active + ACTIVE_SECONDS else IDLE_SECONDS
        self._due = now + (self.wait if self._memory > before else LOOK_SECONDS)
        return None

    def _measure(self) -> str | None:
        """Measure anew and return which limit is exceeded."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - see `descendants`
        self._threads = sum(map(_threads, pids))
        if self._threads > self._most_threads:
            return "processes"
        in_files = _in_memory_files() + _shared_segments() + sum(map(_unnamed_files, pids))
        self._memory = in_files + sum(map(_private_memory, pids))
        if self._memory > self._most_memory:
            # Processes that share memory count it more than once up to here.
            shared = sum(map(_private_memory, pids)) - sum(map(_proportional_memory, pids))
            if self._memory - shared > self._most_memory:
                return "memory"
        return None


def _last_id() -> int:
    """Return the last process id that was given out in this namespace."""
    with open("/proc/sys/kernel/ns_last_pid", "rb") as file:  # noqa: PTH123
        return int(file.read())


def _threads(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2  # noqa: PTH116 - see `descendants`
    except OSError:  # it has ended
        return 0


def _in_memory_files() -> int:
    """Return the bytes of the files in /tmp and /dev/shm."""
    total = 0
    for directory in ("/tmp", "/dev/shm"):  # noqa: S108 - the namespace's own
        usage = os.statvfs(directory)
        total += (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    return total


def _shared_segments() -> int:
    """Return the bytes of the shared memory of System V, which stays when no process has it."""
    with open("/proc/sysvipc/shm", "rb") as file:  # noqa: PTH123
        return sum(int(line.split()[-2]) for line in file.read().splitlines()[1:])


def _private_memory(pid: int) -> int:
    """Return the bytes of a process's own memory; two that share a part count it twice."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
            return _sum_of_lines(file.read(), (b"RssAnon:", b"RssShmem:"))
    except OSError:  # it has ended
        return 0


def _proportional_memory(pid: int) -> int:
    """Return the bytes of a process's own memory, with its part of what it shares."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            return _sum_of_lines(file.read(), (b"Pss_Anon:", b"Pss_Shmem:"))
    except OSError:  # it has ended, or does not let itself be looked at
        return _private_memory(pid)


def _sum_of_lines(text: bytes, names: tuple[bytes, ...]) -> int:
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(names))


def _unnamed_files(pid: int) -> int:
    """Return the bytes of a process's open files that are in memory and have no name (memfd)."""
    total = 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:"):  # noqa: PTH115
                    total += os.stat(f"/proc/{pid}/fd/{name}").st_blocks * 512  # noqa: PTH116
    return total


def _signal_all(number: int) -> None:
    """Signal all other processes of the namespace."""
    with suppress(ProcessLookupError):
        os.kill(-1, number)
