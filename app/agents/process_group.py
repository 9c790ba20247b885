"""Processes that agents need, each with a group of its own: how they begin, and an end that takes the group along."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TERM_SECONDS = 1.0
_POLL_SECONDS = 0.02
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


def environment(names: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """What an agent sees of this service's environment, the operator's `names` included, and the session's `own`.

    Nothing else gets through: this service's secrets are none of an agent's business.
    """
    wanted = {*_PASSED_ON, *_PROXIES, *(name.lower() for name in _PROXIES), *names}
    passed = {name: value for name, value in os.environ.items() if name in wanted or name.startswith(("XDG_", "LC_"))}
    return {**passed, **own}


class ProcessGroup:
    """One running process and the group that it leads, written down in the directory `records` while it runs."""

    def __init__(self, process: asyncio.subprocess.Process, records: Path) -> None:
        self.process = process
        self._started = started_at(process.pid)
        self._record = record(records, process.pid)

    async def end(self) -> None:
        """End the whole group: TERM, then KILL, which nothing of it outlives."""
        try:
            self._signal(signal.SIGTERM)
            deadline = asyncio.get_running_loop().time() + TERM_SECONDS
            while self._signal(0) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a group has no end to wait for
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._signal(signal.SIGKILL)
        await _wait_and_close(self.process)
        self._record.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        """Whether there is a group to signal; its number may have gone to another process since."""
        if started_at(self.process.pid) not in {self._started, ""}:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
            return True
        return False


async def start(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], records: Path, **pipes: Any
) -> ProcessGroup:
    """Start a program with these variables and no others; `OSError` if there is no such program.

    `pipes` are the standard streams as `asyncio.create_subprocess_exec` takes them, and the `limit` of their buffers.
    """
    process = await start_leader(*command, cwd=directory, env=dict(variables), **pipes)
    try:
        return ProcessGroup(process, records)
    except OSError:
        await kill_group(process)
        raise


async def start_leader(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a program as the leader of a process group of its own; `OSError` if there is no such program.

    `options` are those of `asyncio.create_subprocess_exec`. If the caller is cancelled meanwhile, the group is killed.
    """
    # In a task of its own: asyncio loses a process whose start is cancelled half-way.
    starting = asyncio.create_task(asyncio.create_subprocess_exec(*command, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if not starting.cancelled() and not starting.exception():
            await kill_group(starting.result())
        raise


async def kill_group(leader: asyncio.subprocess.Process) -> None:
    """Kill the group of a process that `start_leader` has started and that has not been waited for."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGKILL)
    await _wait_and_close(leader)


async def _wait_and_close(process: asyncio.subprocess.Process) -> None:
    with suppress(
        TimeoutError
    ):  # a process that has left the group may hold the pipes, which some event loops wait for
        await asyncio.wait_for(process.wait(), TERM_SECONDS)
    # A pipe that nobody reads any more would stay open, and asyncio has no public way to close it.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19  # of the fields that follow the program's name


def record(directory: Path, leader: int) -> Path:
    """Write down a process group by its leader; the file is to be removed when the group has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / str(leader)
    file.write_text(f"{_boot()} {started_at(leader)}")
    return file


def reap(directory: Path) -> None:
    """End every group that is written down, unless its number has gone to another process since."""
    for file in directory.glob("[0-9]*"):
        leader = int(file.name)
        boot, _, then = file.read_text().partition(" ")
        # A leader that has ended leaves its number to its group for as long as the group lives.
        if boot == _boot() and started_at(leader) in (then, ""):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)
        file.unlink()


def started_at(pid: int) -> str:
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
