"""An agent's process: a group of its own, lines in, lines out, and what it says beside them for the session's log."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.agents.port import AgentError
from app.agents.process_group import ProcessGroup
from app.agents.process_group import start as start_group

BUFFER_BYTES = 256 * 1024
_MAX_ASIDE = 64 * 1024


class Process:
    """One running agent and the group of processes that it leads."""

    def __init__(self, group: ProcessGroup, tell: Callable[[str], None]) -> None:
        self._group = group
        self._aside = asyncio.create_task(self._listen(tell))

    @property
    def reader(self) -> asyncio.StreamReader:
        """What the agent says."""
        assert self._group.process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        return self._group.process.stdout

    @property
    def writer(self) -> asyncio.StreamWriter:
        """What the agent hears."""
        assert self._group.process.stdin is not None  # noqa: S101 - it was asked for as a pipe
        return self._group.process.stdin

    async def end(self) -> None:
        """End the whole group: TERM, then KILL, which nothing of it outlives."""
        await self._group.end()
        self._aside.cancel()

    async def _listen(self, tell: Callable[[str], None]) -> None:
        assert self._group.process.stderr is not None  # noqa: S101 - it was asked for as a pipe
        rest = b""
        while chunk := await self._group.process.stderr.read(8192):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines or len(rest) > _MAX_ASIDE:
                tell(b"\n".join(lines or [rest]).decode("utf-8", "replace"))
                rest = rest if lines else b""


async def start(
    command: Sequence[str], workspace: Path, variables: Mapping[str, str], tell: Callable[[str], None], records: Path
) -> Process:
    """Start an agent in its workspace, written down in `records`; `AgentError` if there is no such program."""
    pipe = asyncio.subprocess.PIPE
    try:
        group = await start_group(
            command, workspace, variables, records, stdin=pipe, stdout=pipe, stderr=pipe, limit=BUFFER_BYTES
        )
    except OSError as error:
        raise AgentError("The agent could not be started.") from error
    return Process(group, tell)
