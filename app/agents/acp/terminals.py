"""Commands that an agent runs through us in its workspace, and their output."""

import asyncio
import codecs
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from acp import RequestError, schema

from app.agents.acp.files import resolve_inside
from app.sandbox.process_tree import Process, ProcessTree
from app.sandbox.streams import open_output

MAX_TERMINALS = 16
MAX_OUTPUT = 1024 * 1024  # bytes
DRAIN_SECONDS = 0.5
_INVALID_PARAMS = -32602
_SIGNALS = {each.value: each.name for each in signal.Signals}


class Terminals:
    """The methods `terminal/*` of one session's client; a command that still runs at the end of a turn is ended."""

    def __init__(self, workspace: Path, environment: Mapping[str, str], tree: ProcessTree) -> None:
        self._root = workspace.absolute()
        self._environment = environment
        self._tree = tree
        self._terminals: dict[str, _Terminal] = {}
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
        """Start a program with `args`; without `args`, run `command` in a shell, as agents expect."""
        del session_id
        directory = await asyncio.to_thread(resolve_inside, self._root, cwd) if cwd else self._root
        limit = MAX_OUTPUT if output_byte_limit is None else min(output_byte_limit, MAX_OUTPUT)
        terminals_of_turn = self._terminals
        environment = {**self._environment, **{variable.name: variable.value for variable in env or []}}
        if self._starting + sum(not terminal.released for terminal in self._terminals.values()) >= MAX_TERMINALS:
            raise RequestError(_INVALID_PARAMS, "Too many terminals; release some")
        self._starting += 1
        try:
            words = [command, *args] if args else ["/bin/sh", "-c", command]
            terminal = await _start(words, directory, environment, self._tree, limit)
        except OSError as error:
            raise RequestError(_INVALID_PARAMS, f"Not started: {os.strerror(error.errno or 0)}") from error
        except ValueError as error:  # a NUL in a word, or a variable's name with "="
            raise RequestError(_INVALID_PARAMS, "The command is not valid") from error
        finally:
            self._starting -= 1
        if self._terminals is not terminals_of_turn:
            await terminal.end()
            raise RequestError(_INVALID_PARAMS, "The turn has ended")
        terminal_id = uuid4().hex
        self._terminals[terminal_id] = terminal
        return schema.CreateTerminalResponse(terminal_id=terminal_id)

    async def terminal_output(self, session_id: str, terminal_id: str) -> schema.TerminalOutputResponse:
        """Return what a command has printed so far."""
        del session_id
        return self._get(terminal_id).to_response()

    async def wait_for_terminal_exit(self, session_id: str, terminal_id: str) -> schema.WaitForTerminalExitResponse:
        """Wait for a command to end."""
        del session_id
        return await self._get(terminal_id).wait()

    async def kill_terminal(self, session_id: str, terminal_id: str) -> schema.KillTerminalResponse:
        """End a command; its output can still be read."""
        del session_id
        await self._get(terminal_id).end()
        return schema.KillTerminalResponse()

    async def release_terminal(self, session_id: str, terminal_id: str) -> schema.ReleaseTerminalResponse:
        """End a command and make its id invalid for the agent; a tool call of the turn may still show its output."""
        del session_id
        terminal = self._get(terminal_id)
        terminal.released = True
        released = [id_ for id_, each in self._terminals.items() if each.released]
        for id_ in released[:-MAX_TERMINALS]:
            del self._terminals[id_]
        await terminal.end()
        return schema.ReleaseTerminalResponse()

    def output_of(self, terminal_id: str) -> str | None:
        """Return what a command of this turn has printed, even if it is released; None if the id is unknown."""
        terminal = self._terminals.get(terminal_id)
        return terminal.output if terminal else None

    async def end_terminals(self) -> None:
        """End every command and forget them all."""
        terminals, self._terminals = self._terminals, {}
        await asyncio.gather(*(terminal.end() for terminal in terminals.values()))

    def _get(self, terminal_id: str) -> "_Terminal":
        terminal = self._terminals.get(terminal_id)
        if terminal is None or terminal.released:
            raise RequestError.resource_not_found()
        return terminal


class _Terminal:
    """One command, and the last `limit` bytes of its output."""

    def __init__(self, process: Process, pipe: asyncio.ReadTransport, stream: asyncio.StreamReader, limit: int) -> None:
        self.released = False
        self._process = process
        self._pipe = pipe
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()
        self._truncated = False
        self._reading = asyncio.create_task(self._read())

    @property
    def output(self) -> str:
        """The last `limit` bytes, without the rest of a character whose first bytes are cut off."""
        return self._buffer[max(len(self._buffer) - self._limit, 0) :].decode("utf-8", "ignore")

    def to_response(self) -> schema.TerminalOutputResponse:
        """Return the output so far, and how the command ended if it has."""
        truncated = self._truncated or len(self._buffer) > self._limit
        return schema.TerminalOutputResponse(output=self.output, truncated=truncated, exit_status=self._exit_status())

    async def wait(self) -> schema.WaitForTerminalExitResponse:
        """Wait until the command has ended and its output is read; return how it ended."""
        await self._process.wait()
        # A process that it has left running may hold the other end of the pipe open for ever.
        await asyncio.wait({self._reading}, timeout=DRAIN_SECONDS)
        status = self._exit_status() or schema.TerminalExitStatus()
        return schema.WaitForTerminalExitResponse(exit_code=status.exit_code, signal=status.signal)

    async def end(self) -> None:
        """End the command with all that it has started, and stop reading."""
        await self._process.end()
        await asyncio.wait({self._reading}, timeout=DRAIN_SECONDS)
        self._reading.cancel()
        self._pipe.close()

    def _exit_status(self) -> schema.TerminalExitStatus | None:
        code = self._process.returncode
        if code is None:
            return None
        if code < 0:
            return schema.TerminalExitStatus(signal=_SIGNALS.get(-code, str(-code)))
        return schema.TerminalExitStatus(exit_code=code)

    async def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := await self._stream.read(65536):
            self._buffer += decoder.decode(chunk).encode()
            # Trimmed at twice the limit only, so that trimming costs little for each byte.
            if (surplus := len(self._buffer) - 2 * self._limit) > 0:
                del self._buffer[: surplus + self._limit]
                self._truncated = True


async def _start(
    words: Sequence[str], directory: Path, environment: Mapping[str, str], tree: ProcessTree, limit: int
) -> _Terminal:
    pipe, stream, streams = await open_output()
    try:
        process = await tree.start(words, directory, environment, streams.files)
    except BaseException:
        pipe.close()
        raise
    finally:
        streams.close()
    return _Terminal(process, pipe, stream, limit)
