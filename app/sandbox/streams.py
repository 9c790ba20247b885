"""The standard streams of a command, and our ends of them."""

import asyncio
import os
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import uvloop

_LIMIT = 65536


class Streams(NamedTuple):
    """The command's ends: open files for its standard input, output and error. To be closed once it has started."""

    files: tuple[int, int, int]

    def close(self) -> None:
        """Close them here; the command has its own."""
        for file in set(self.files):
            os.close(file)


class Pipes:
    """Our ends of a command's three standard streams."""

    def __init__(self, stdin: asyncio.StreamWriter, stdout: "_Reading", stderr: "_Reading") -> None:
        self.stdin = stdin
        self.stdout = stdout.stream
        self.stderr = stderr.stream
        self._transports = (stdout.transport, stderr.transport)

    def close_stdout(self) -> None:
        """Close our end of standard output: its reader finds the end of the stream."""
        self._transports[0].close()

    def close(self) -> None:
        """Close all three."""
        self.stdin.close()
        for transport in self._transports:
            transport.close()


async def connect_writer(descriptor: int) -> asyncio.StreamWriter:
    """Return a writer to a pipe, which owns the descriptor."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), _pipe(descriptor, "wb")
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def connect_reader(descriptor: int, protocol: asyncio.StreamReaderProtocol) -> asyncio.ReadTransport:
    """Let a protocol read from a pipe; return the transport, which owns the descriptor."""
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, _pipe(descriptor, "rb"))
    return transport


def _pipe(descriptor: int, mode: str) -> IO[Any]:
    """Return the file of a pipe, which its transport closes.

    uvloop 0.23 closes the descriptor and then the file (https://github.com/MagicStack/uvloop/issues/763). A thread that
    opens another file in between gets the same number, and the file must not close that one.
    """
    return os.fdopen(descriptor, mode, 0, closefd=not isinstance(asyncio.get_running_loop(), uvloop.Loop))


async def open_pipes(limit: int) -> tuple[Pipes, Streams]:
    """Return a pipe for each standard stream; `limit` is that of our readers in bytes."""
    with ExitStack() as opened:
        reading, writing = os.pipe()
        opened.callback(os.close, reading)
        stdin = await connect_writer(writing)
        opened.callback(stdin.close)
        stdout, stderr = [await _open_reading(limit, opened) for _ in range(2)]
        opened.pop_all()
    return Pipes(stdin, stdout, stderr), Streams((reading, stdout.other_end, stderr.other_end))


async def open_output() -> tuple[asyncio.ReadTransport, asyncio.StreamReader, Streams]:
    """Return one pipe for standard output and error; standard input is empty."""
    with ExitStack() as opened:
        output = await _open_reading(_LIMIT, opened)
        streams = Streams((os.open(os.devnull, os.O_RDONLY), output.other_end, output.other_end))
        opened.pop_all()
    return output.transport, output.stream, streams


class _Reading(NamedTuple):
    """A pipe that is read here, and its other end."""

    transport: asyncio.ReadTransport
    stream: asyncio.StreamReader
    other_end: int


async def _open_reading(limit: int, opened: ExitStack) -> _Reading:
    """Return a pipe, both ends of which are in `opened`."""
    stream = asyncio.StreamReader(limit)
    reading, writing = os.pipe()
    opened.callback(os.close, writing)
    transport = await connect_reader(reading, asyncio.StreamReaderProtocol(stream))
    opened.callback(transport.close)
    return _Reading(transport, stream, writing)
