"""Child processes that lead a process group of their own."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

_CLOSE_SECONDS = 1.0


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
    """Kill the group of a process that `start_leader` has started, and release its pipes."""
    if leader.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, signal.SIGKILL)
    # Some event loops also wait for the pipes, which a process that has left the group may hold open.
    with suppress(TimeoutError):
        await asyncio.wait_for(leader.wait(), _CLOSE_SECONDS)
    # A pipe that nobody reads any more would stay open, and asyncio has no public way to close it.
    leader._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
