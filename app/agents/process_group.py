"""Process groups of agents: every agent, and every command that it runs, leads one that is ended as a whole.

A group is recorded while it runs: a file whose name is the leader's process id, with the machine's boot id and the
leader's start time. So a server that was killed can end at its next start what it has left running, and a process that
has got the same id since is never signalled.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TERM_SECONDS = 1.0
_POLL_SECONDS = 0.02

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
_INHERITED_PREFIXES = ("XDG_", "LC_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19  # its index in /proc/<pid>/stat, counted after the program's name


def agent_environment(inherited: Sequence[str], session: Mapping[str, str]) -> dict[str, str]:
    """Return an agent's environment: the `session`'s variables, the server's usual ones and those `inherited` names.

    Nothing else of the server's environment is passed on, since it may hold secrets.
    """
    names = {*_INHERITED, *_PROXIES, *(name.lower() for name in _PROXIES), *inherited}
    ours = {name: value for name, value in os.environ.items() if name in names or name.startswith(_INHERITED_PREFIXES)}
    return {**ours, **session}


class ProcessGroup:
    """A running process and the group that it leads, recorded in the directory `records` until `end`."""

    def __init__(self, process: asyncio.subprocess.Process, records: Path) -> None:
        self.process = process
        self._start_time = start_time(process.pid)
        self._record = record(records, process.pid)

    async def wait(self) -> int:
        """Wait until the process has exited, even if others still hold its pipes, for which asyncio's `wait` waits.

        Return its exit status, or minus the signal that killed it.
        """
        await _wait_for_exit(self.process.pid)
        while (status := self.process.returncode) is None:  # noqa: ASYNC110 - asyncio has no event for it
            await asyncio.sleep(_POLL_SECONDS)
        return status

    def close_output(self) -> None:
        """Close our end of the process's standard output: its reader finds the end of the stream."""
        if pipe := self.process._transport.get_pipe_transport(1):  # type: ignore[attr-defined]  # noqa: SLF001
            pipe.close()

    async def end(self) -> None:
        """Send SIGTERM to the group, SIGKILL to what is left of it after TERM_SECONDS, and wait for the process."""
        loop = asyncio.get_running_loop()
        try:
            exists = self._signal(signal.SIGTERM)
            deadline = loop.time() + TERM_SECONDS
            while exists and loop.time() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                exists = self._signal(0)
        finally:
            self._signal(signal.SIGKILL)
        await _wait_and_close(self.process)
        self._record.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return False if there is no such group any more."""
        return start_time(self.process.pid) in {self._start_time, ""} and _signal_group(self.process.pid, number)


def describe_exit(status: int) -> str:
    """Return how a process ended, for people: `status` is its exit status, or minus the signal that killed it."""
    return f"with status {status}" if status >= 0 else f"by signal {-status}"


async def start(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], records: Path, **pipes: Any
) -> ProcessGroup:
    """Start a program with these environment variables and no others; raise OSError if that is not possible.

    `pipes` are the standard streams as `asyncio.create_subprocess_exec` takes them, and the `limit` of their buffers.
    """
    process = await start_leader(*command, cwd=directory, env=dict(variables), **pipes)
    try:
        return ProcessGroup(process, records)
    except OSError:
        await kill_group(process)
        raise


async def start_leader(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a program as the leader of a process group; raise OSError if that is not possible.

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
    _signal_group(leader.pid, signal.SIGKILL)
    await _wait_and_close(leader)


def record(directory: Path, leader: int) -> Path:
    """Record the process group of a leader; return the file, to be removed when the group has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / str(leader)
    file.write_text(f"{_boot_id()} {start_time(leader)}")
    return file


def reap(directory: Path) -> None:
    """Kill every recorded group that still runs, and remove the records."""
    for file in directory.glob("[0-9]*"):
        leader = int(file.name)
        boot_id, _, recorded = file.read_text().partition(" ")
        # While a group has members, no new process gets the id of its leader, even if the leader has ended.
        if boot_id == _boot_id() and start_time(leader) in {recorded, ""}:
            _signal_group(leader, signal.SIGKILL)
        file.unlink()


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since the machine's boot; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME]
    except OSError:
        return ""


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _signal_group(leader: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
        return True
    return False


async def _wait_for_exit(pid: int) -> None:
    """Wait until a child of this process has exited; return at once where the system has no event for it."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or exited and waited for
        return
    loop, exited = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _wait_and_close(process: asyncio.subprocess.Process) -> None:
    # Some event loops also wait for the pipes, which a process that has left the group may hold open.
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), TERM_SECONDS)
    # A pipe that nobody reads any more would stay open, and asyncio has no public way to close it.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
