"""The processes of one session: commands that an init starts, which all end with it.

The init, `init.py`, is the only child of this process. It is reached by a socket, which ends it when it is closed: by
`close`, or by the system when this process dies.
"""

import asyncio
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec

from app.sandbox.children import Child, kill_group, start_leader

TERM_SECONDS = 1.0
"""Between a command's SIGTERM and SIGKILL."""
_PROGRAM = [Path(__file__).with_name(name).read_bytes() for name in ("watch.py", "seccomp.py", "init.py")]
_READY_SECONDS = 30.0
_END_SECONDS = 5.0  # beyond TERM_SECONDS, before all commands are ended because one of them cannot be
_CLOSE_SECONDS = 1.0  # beyond twice TERM_SECONDS, before the init itself is killed
_MAX_ERROR = 2000  # bytes


class SandboxError(Exception):
    """The first process of a tree could not be started; the message is for the operator."""


class _Message(msgspec.Struct):
    """A report of the init: that it is `ready`, or a change of the command `id`."""

    ready: bool = False
    id: int = 0
    started: bool = False
    error: int | None = None
    status: int | None = None
    ended: bool = False
    exceeded: Literal["memory", "processes"] | None = None


class Process:
    """A command of a tree."""

    def __init__(self, tree: "ProcessTree", number: int) -> None:
        self.returncode: int | None = None
        """Its exit status, or minus the signal that killed it; None while it runs."""
        self._tree = tree
        self._number = number
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exited = asyncio.Event()
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Wait until the command has exited, whatever it has left running; return `returncode`."""
        await self._exited.wait()
        assert self.returncode is not None  # noqa: S101 - set before the event
        return self.returncode

    async def end(self) -> None:
        """End the command and all that it has started: by SIGTERM, after TERM_SECONDS by SIGKILL.

        If that is not done in time, the whole tree is ended.
        """
        self._tree._send(end=self._number)  # noqa: SLF001 - parts of one whole
        try:
            async with asyncio.timeout(TERM_SECONDS + _END_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            await self._tree.close()

    def _apply(self, message: _Message) -> None:
        if message.started and not self._started.done():
            self._started.set_result(None)
        if message.error is not None and not self._started.done():
            self._started.set_exception(OSError(message.error, os.strerror(message.error)))
        if message.status is not None and self.returncode is None:
            self.returncode = message.status
            self._exited.set()
        if message.ended:
            self._finish()

    def _finish(self) -> None:
        if not self._started.done():
            self._started.set_exception(OSError("The process tree has ended"))
        if self.returncode is None:
            self.returncode = -9
        self._exited.set()
        self._ended.set()


class ProcessTree:
    """A running init and its commands. Make one with `open_tree`."""

    def __init__(
        self,
        init: Child,
        control: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.ended = asyncio.Event()
        """Set once the init has exited, or has closed its end."""
        self.exceeded: Literal["memory", "processes"] | None = None
        """Which limit the processes have exceeded; they are ended then."""
        self._init = init
        self._control = control
        self._reader = reader
        self._writer = writer
        self._processes: dict[int, Process] = {}
        self._last = 0
        self._ready = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())

    async def start(
        self, command: Sequence[str], directory: Path, variables: Mapping[str, str], streams: tuple[int, int, int]
    ) -> Process:
        """Start a program with these variables and no others; raise OSError or ValueError if that is not possible.

        `streams` are open files for its standard input, output and error, which the caller closes. If the caller is
        cancelled, the program is ended.
        """
        payload = _payload(command, directory, variables)
        self._last += 1
        process = self._processes[self._last] = Process(self, self._last)
        with payload:
            self._send((payload.fileno(), *streams), start=self._last)
        if self.ended.is_set():
            process._finish()  # noqa: SLF001
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.shield(process._started)  # noqa: SLF001
        except asyncio.CancelledError:
            self._send(end=process._number)  # noqa: SLF001
            raise
        except TimeoutError:
            await self.close()
            raise
        finally:
            if process._started.done() and process._started.exception():  # noqa: SLF001
                self._processes.pop(process._number, None)  # noqa: SLF001
        return process

    async def close(self) -> None:
        """End all commands and the init."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(2 * TERM_SECONDS + _CLOSE_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            pass
        finally:
            await kill_group(self._init)
            self._receiving.cancel()
            self._finish()
            self._writer.close()
            self._control.close()

    async def wait_until_ready(self) -> None:
        """Wait for the init's first message; `SandboxError` with what it has written to standard error."""
        ready, ended = asyncio.create_task(self._ready.wait()), asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if not self._ready.is_set():
            assert self._init.stderr is not None  # noqa: S101 - started with a pipe
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    error = await self._init.stderr.read(_MAX_ERROR)
                    raise SandboxError(error.decode("utf-8", "replace").strip() or "it has exited")
            raise SandboxError("it does not respond")

    def _send(self, files: Sequence[int] = (), **message: int) -> None:
        try:
            socket.send_fds(self._control, [msgspec.json.encode(message) + b"\n"], files)
        except OSError:  # it has exited, or it does not read, and is of no use
            self._finish()

    async def _receive(self) -> None:
        try:
            while line := await self._reader.readline():
                message = msgspec.json.decode(line, type=_Message)
                self.exceeded = self.exceeded or message.exceeded
                if message.ready:
                    self._ready.set()
                if process := self._processes.get(message.id):
                    process._apply(message)  # noqa: SLF001
                if message.ended:
                    self._processes.pop(message.id, None)
        except (OSError, ValueError):  # what the init never writes
            pass
        finally:
            self._finish()

    def _finish(self) -> None:
        self.ended.set()
        for process in self._processes.values():
            process._finish()  # noqa: SLF001
        self._processes.clear()


async def open_tree(command: Sequence[str], options: Mapping[str, object]) -> ProcessTree:
    """Start an init by `command`, which runs the Python program that it reads from standard input; `SandboxError`."""
    ours, theirs = socket.socketpair()
    with theirs, _unnamed_file(b"".join(_PROGRAM)) as source:
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours.dup())
        words = [*command, str(theirs.fileno()), msgspec.json.encode(options).decode()]
        try:
            init = await start_leader(
                *words,
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={},
            )
        except BaseException as error:
            writer.close()
            ours.close()
            if isinstance(error, OSError):
                raise SandboxError(str(error)) from error
            raise
    tree = ProcessTree(init, ours, reader, writer)
    try:
        await tree.wait_until_ready()
    except BaseException:
        await tree.close()
        raise
    return tree


def _payload(command: Sequence[str], directory: Path, variables: Mapping[str, str]) -> BinaryIO:
    """Return a file with a command; raise ValueError if the system would not take it."""
    for text in (*command, str(directory), *variables, *variables.values()):
        if b"\0" in os.fsencode(text):
            raise ValueError("a NUL in a command")
    if any("=" in name or not name for name in variables):
        raise ValueError("no name of a variable")
    # Not by msgspec, which refuses what is no UTF-8.
    return _unnamed_file(json.dumps((list(command), str(directory), dict(variables))).encode())


def _unnamed_file(content: bytes) -> BinaryIO:
    """Return a file with this content that no other process can open."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("input"), "wb+")
    else:
        file = cast("Any", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file
