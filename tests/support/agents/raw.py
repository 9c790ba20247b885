"""An HTTP server that responds with given bytes, well-formed or not, and notices when its client disconnects."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class RawServer:
    """`requested` is set by the first request, `finished` once the response is sent or the client has disconnected."""

    def __init__(self, response: Iterable[bytes], *, hold: bool) -> None:
        self._response = response
        self._hold = hold
        self.url = ""
        self.requests: list[bytes] = []
        self.requested = asyncio.Event()
        self.finished = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to one request; then close, or hold the connection until the client disconnects."""
        with suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            self.requests.append(head + await reader.readexactly(length))
            self.requested.set()
            for part in self._response:
                writer.write(part)
                await writer.drain()
            if self._hold:
                await reader.read()
        self.finished.set()
        writer.close()


@asynccontextmanager
async def raw_server(*response: bytes, hold: bool = False) -> AsyncIterator[RawServer]:
    """Serve on a free port within the block; `hold` leaves the connection open after the response."""
    raw = RawServer(response, hold=hold)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/run"
    async with server:
        yield raw
