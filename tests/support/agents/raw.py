"""A server that writes given bytes, whatever they are, and tells when its client has gone."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class RawServer:
    """`requests` are what came in; `asked` is set by the first, `gone` once a client has left or was answered."""

    def __init__(self, answer: Iterable[bytes], *, hold: bool) -> None:
        self._answer = answer
        self._hold = hold
        self.url = ""
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; then close, or hold the connection until the client leaves."""
        with suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            self.requests.append(head + await reader.readexactly(length))
            self.asked.set()
            for part in self._answer:
                writer.write(part)
                await writer.drain()
            if self._hold:
                await reader.read()
        self.gone.set()
        writer.close()


@asynccontextmanager
async def raw_server(*answer: bytes, hold: bool = False) -> AsyncIterator[RawServer]:
    """Serve on a free port while the block lasts."""
    raw = RawServer(answer, hold=hold)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/run"
    async with server:
        yield raw
