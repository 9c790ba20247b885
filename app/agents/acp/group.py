"""Processes that agents need, each with a group of its own: how they begin, and an end that takes the group along."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.agents.acp.leftovers import record, started

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


class Group:
    """One running process and the group that it leads, written down in the directory `records` while it runs."""

    def __init__(self, process: asyncio.subprocess.Process, records: Path) -> None:
        self.process = process
        self._started = started(process.pid)
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
        with suppress(TimeoutError):  # who has left the group may hold the pipes, which some event loops wait for
            await asyncio.wait_for(self.process.wait(), TERM_SECONDS)
        # A pipe that nobody reads any more would stay open; asyncio has no public way to let go of it.
        self.process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        self._record.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        """Whether there is a group to signal; its number may have gone to another process since."""
        if started(self.process.pid) not in {self._started, ""}:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
            return True
        return False


async def start(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], records: Path, **pipes: Any
) -> Group:
    """Start a program with these variables and no others; `OSError` if there is no such program.

    `pipes` are the standard streams as `asyncio.create_subprocess_exec` takes them, and the `limit` of their buffers.
    """
    # A task of its own, since a start that is cancelled half-way leaves the process behind.
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(*command, cwd=directory, env=dict(variables), start_new_session=True, **pipes)
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if not starting.cancelled() and not starting.exception():
            await Group(starting.result(), records).end()
        raise
    try:
        return Group(process, records)
    except OSError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
