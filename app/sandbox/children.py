"""Child processes that lead a process group of their own.

They are started by `subprocess` and not by the event loop: uvloop forks, which copies the tables of all memory of this
process, and nothing else happens meanwhile. For each 100 MB that takes 5 ms, of which a comparison of a workspace, with
its twenty git commands, takes a hundred. `subprocess` lends the memory to the child until that runs its program.
"""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from threading import Thread
from typing import IO, Any

from app.sandbox.streams import connect_reader, connect_writer
from app.waiting import completed

_CLOSE_SECONDS = 1.0


class _ClosedAtEnd(asyncio.StreamReaderProtocol):
    """A pipe that is closed when everything has been read."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class Child:
    """A running process that `start_leader` has started; of its standard streams those exist that are pipes."""

    stdin: asyncio.StreamWriter | None = None
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._transports: list[asyncio.BaseTransport] = []

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that killed it; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the process has exited, whatever it has left running; return `returncode`."""
        await self._exited.wait()
        assert self.returncode is not None  # noqa: S101 - set before the event
        return self.returncode

    async def communicate(self, data: bytes = b"") -> tuple[bytes, bytes]:
        """Write to standard input, read the other streams to their ends and wait; return what they had."""
        outputs = [stream.read() if stream else _nothing() for stream in (self.stdout, self.stderr)]
        stdout, stderr, _ = await asyncio.gather(*outputs, self._feed(data))
        await self.wait()
        return stdout, stderr

    def close(self) -> None:
        """Release the pipes."""
        for transport in self._transports:
            transport.close()

    async def connect(self) -> None:
        """Watch for the exit and open the pipes."""
        try:
            exit_file = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or not permitted
            Thread(target=self._wait_in_thread, daemon=True).start()
        else:
            self._loop.add_reader(exit_file, self._on_exit, exit_file)
        if pipe := self._process.stdin:
            self.stdin = await connect_writer(_descriptor(pipe))
            self._transports.append(self.stdin.transport)
        self.stdout, self.stderr = [await self._read(pipe) for pipe in (self._process.stdout, self._process.stderr)]

    async def _read(self, pipe: IO[bytes] | None) -> asyncio.StreamReader | None:
        if pipe is None:
            return None
        stream = asyncio.StreamReader()
        self._transports.append(await connect_reader(_descriptor(pipe), _ClosedAtEnd(stream)))
        return stream

    async def _feed(self, data: bytes) -> bytes:
        if self.stdin:
            with suppress(ConnectionError):  # it does not read everything
                self.stdin.write(data)
                await self.stdin.drain()
            self.stdin.close()
        return b""

    def _on_exit(self, exit_file: int) -> None:
        self._loop.remove_reader(exit_file)
        os.close(exit_file)
        self._process.poll()
        self._exited.set()

    def _wait_in_thread(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._exited.set)


async def start_leader(*command: str, **options: Any) -> Child:
    """Start a program as the leader of a process group; raise OSError if that is not possible.

    `options` are those of `subprocess.Popen`. If the caller is cancelled meanwhile, or the pipes cannot be opened, the
    group is killed.
    """
    child = Child(subprocess.Popen(command, start_new_session=True, bufsize=0, **options))  # noqa: S603, ASYNC220
    try:
        await completed(child.connect())
    except BaseException:
        await kill_group(child)
        raise
    return child


async def kill_group(leader: Child) -> None:
    """Kill the group of a process that `start_leader` has started, and release its pipes."""
    if leader.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await leader.wait()
    leader.close()


def _descriptor(pipe: IO[bytes]) -> int:
    """Return a descriptor of an open pipe that the file, which is closed, does not own."""
    with pipe:
        return os.dup(pipe.fileno())


async def _nothing() -> bytes:
    return b""
