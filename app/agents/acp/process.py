"""An agent's process: a group of its own, a small environment, and an end that takes the group along."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.agents.acp.leftovers import record
from app.agents.port import AgentError

TERM_SECONDS = 1.0
MAX_LINE = 16 * 1024 * 1024
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


class Process:
    """One running agent and the group of processes that it leads."""

    def __init__(self, process: asyncio.subprocess.Process, tell: Callable[[str], None], records: Path) -> None:
        self._process = process
        self._record = record(records, process.pid)
        self._stderr = asyncio.create_task(self._listen(tell))

    @property
    def reader(self) -> asyncio.StreamReader:
        """What the agent says."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        return self._process.stdout

    @property
    def writer(self) -> asyncio.StreamWriter:
        """What the agent hears."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for as a pipe
        return self._process.stdin

    async def end(self) -> None:
        """End the whole group: TERM, then KILL; nothing of it is left when this returns."""
        self._signal(signal.SIGTERM)
        deadline = asyncio.get_running_loop().time() + TERM_SECONDS
        while self._signal(0) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a group has no end to wait for
            await asyncio.sleep(_POLL_SECONDS)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        self._stderr.cancel()
        self._record.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
            return True
        return False

    async def _listen(self, tell: Callable[[str], None]) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was asked for as a pipe
        rest = b""
        while chunk := await self._process.stderr.read(8192):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines or len(rest) > MAX_LINE:
                tell(b"\n".join(lines or [rest]).decode("utf-8", "replace"))
                rest = rest if lines else b""


async def start(
    command: Sequence[str], workspace: Path, variables: Mapping[str, str], tell: Callable[[str], None], records: Path
) -> Process:
    """Start an agent in its workspace, written down in `records`; `AgentError` if there is no such program."""
    # A task of its own, since a start that is cancelled half-way leaves the process behind.
    starting = asyncio.create_task(_start(command, workspace, variables))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if not starting.cancelled() and not starting.exception():
            await Process(starting.result(), tell, records).end()
        raise
    except OSError as error:
        raise AgentError("The agent could not be started.") from error
    return Process(process, tell, records)


async def _start(command: Sequence[str], workspace: Path, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=workspace,
        env=dict(variables),
        start_new_session=True,
        limit=MAX_LINE,
    )
