"""Commands that an agent has us run in its workspace, and what they print."""

import asyncio
import codecs
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from acp import RequestError, schema

from app.agents.acp.files import inside
from app.agents.process_group import ProcessGroup, start

MAX_TERMINALS = 16
MAX_OUTPUT = 1024 * 1024
DRAIN_SECONDS = 0.5
_INVALID_PARAMS = -32602
_SIGNALS = {each.value: each.name for each in signal.Signals}


class Terminal:
    """One command; of what it prints, its last `limit` bytes are kept."""

    def __init__(
        self, group: ProcessGroup, pipe: asyncio.ReadTransport, printed: asyncio.StreamReader, limit: int
    ) -> None:
        self.released = False
        self._group = group
        self._pipe = pipe
        self._printed = printed
        self._limit = limit
        self._kept = bytearray()
        self._truncated = False
        self._listening = asyncio.create_task(self._listen())

    @property
    def output(self) -> str:
        """What was printed last, cut at a character's beginning."""
        return self._kept[max(len(self._kept) - self._limit, 0) :].decode("utf-8", "ignore")

    def seen(self) -> schema.TerminalOutputResponse:
        """The output so far and how the command ended, if it has."""
        truncated = self._truncated or len(self._kept) > self._limit
        return schema.TerminalOutputResponse(output=self.output, truncated=truncated, exit_status=self._status())

    async def wait(self) -> schema.WaitForTerminalExitResponse:
        """How the command ended, once it has and its output is in."""
        await self._group.process.wait()
        # What it has left running may hold the other end open for ever.
        await asyncio.wait({self._listening}, timeout=DRAIN_SECONDS)
        status = self._status() or schema.TerminalExitStatus()
        return schema.WaitForTerminalExitResponse(exit_code=status.exit_code, signal=status.signal)

    async def end(self) -> None:
        """End the command and all that it has started."""
        await self._group.end()
        await asyncio.wait({self._listening}, timeout=DRAIN_SECONDS)
        self._listening.cancel()
        self._pipe.close()

    def _status(self) -> schema.TerminalExitStatus | None:
        code = self._group.process.returncode
        if code is None:
            return None
        if code < 0:
            return schema.TerminalExitStatus(signal=_SIGNALS.get(-code, str(-code)))
        return schema.TerminalExitStatus(exit_code=code)

    async def _listen(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := await self._printed.read(65536):
            self._kept += decoder.decode(chunk).encode()
            if (surplus := len(self._kept) - 2 * self._limit) > 0:
                del self._kept[: surplus + self._limit]
                self._truncated = True


async def _started(
    line: Sequence[str], directory: Path, variables: Mapping[str, str], records: Path, limit: int
) -> Terminal:
    """Start a command; it prints into a pipe of our own, so that its end is seen while others hold the pipe."""
    printed = asyncio.StreamReader()
    reading, writing = os.pipe()
    try:
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(printed), os.fdopen(reading, "rb", 0)
        )
        group = await start(
            line, directory, variables, records, stdin=asyncio.subprocess.DEVNULL, stdout=writing, stderr=writing
        )
    finally:
        os.close(writing)
    return Terminal(group, pipe, printed, limit)


class Terminals:
    """The methods `terminal/*` of one session's client; what still runs is ended with the turn."""

    def __init__(self, workspace: Path, variables: Mapping[str, str], records: Path) -> None:
        self._root = workspace.resolve()
        self._variables = variables
        self._records = records
        self._terminals: dict[str, Terminal] = {}
        self._starting = 0

    async def create_terminal(
        self,
        *,
        session_id: str,
        command: str,
        args: list[str] | None = None,
        env: list[schema.EnvVariable] | None = None,
        cwd: str | None = None,
        output_byte_limit: int | None = None,
    ) -> schema.CreateTerminalResponse:
        """Start a program with `args`; without any, `command` is a line for the shell, as agents use it."""
        del session_id
        directory = await asyncio.to_thread(inside, self._root, cwd) if cwd else self._root
        limit = MAX_OUTPUT if output_byte_limit is None else output_byte_limit
        of_this_turn = self._terminals
        variables = {**self._variables, **{each.name: each.value for each in env or []}}
        if self._starting + sum(not each.released for each in self._terminals.values()) >= MAX_TERMINALS:
            raise RequestError(_INVALID_PARAMS, "Too many terminals; release some")
        self._starting += 1
        try:
            line = [command, *args] if args else ["/bin/sh", "-c", command]
            terminal = await _started(line, directory, variables, self._records, min(limit, MAX_OUTPUT))
        except OSError as error:
            raise RequestError(_INVALID_PARAMS, f"Not started: {os.strerror(error.errno or 0)}") from error
        except ValueError as error:  # a NUL in a word, or a name with "="
            raise RequestError(_INVALID_PARAMS, "The command is not valid") from error
        finally:
            self._starting -= 1
        if self._terminals is not of_this_turn:
            await terminal.end()
            raise RequestError(_INVALID_PARAMS, "The turn has ended")
        name = uuid4().hex
        self._terminals[name] = terminal
        return schema.CreateTerminalResponse(terminal_id=name)

    async def terminal_output(self, session_id: str, terminal_id: str) -> schema.TerminalOutputResponse:
        """What a command has printed so far."""
        del session_id
        return self._terminal(terminal_id).seen()

    async def wait_for_terminal_exit(self, session_id: str, terminal_id: str) -> schema.WaitForTerminalExitResponse:
        """How a command ended, once it has."""
        del session_id
        return await self._terminal(terminal_id).wait()

    async def kill_terminal(self, session_id: str, terminal_id: str) -> schema.KillTerminalResponse:
        """End a command; its output can still be read."""
        del session_id
        await self._terminal(terminal_id).end()
        return schema.KillTerminalResponse()

    async def release_terminal(self, session_id: str, terminal_id: str) -> schema.ReleaseTerminalResponse:
        """End a command and forget its name; a tool call of the turn may still show what it printed."""
        del session_id
        terminal = self._terminal(terminal_id)
        terminal.released = True
        released = [name for name, each in self._terminals.items() if each.released]
        for name in released[:-MAX_TERMINALS]:
            del self._terminals[name]
        await terminal.end()
        return schema.ReleaseTerminalResponse()

    def output_of(self, terminal_id: str) -> str | None:
        """What a command of this turn has printed; None if there is none of that name."""
        terminal = self._terminals.get(terminal_id)
        return terminal.output if terminal else None

    async def end_terminals(self) -> None:
        """End every command that still runs, and forget them all."""
        terminals, self._terminals = self._terminals, {}
        await asyncio.gather(*(each.end() for each in terminals.values()))

    def _terminal(self, name: str) -> Terminal:
        terminal = self._terminals.get(name)
        if terminal is None or terminal.released:
            raise RequestError.resource_not_found()
        return terminal
