"""A TCP proxy that aborts its connections on demand."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.server import LOCALHOST, Background


class Proxy:
    """A proxy; `aborted` counts the connections that it has aborted."""

    def __init__(self, port: int, loop: Background) -> None:
        self._target = port
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.aborted = 0

    @classmethod
    @contextmanager
    def to(cls, url: str, loop: Background) -> Iterator["Proxy"]:
        """Yield a proxy in front of a server."""
        proxy = cls(urlsplit(url).port or 80, loop)
        server = loop.run(asyncio.start_server(proxy._serve, LOCALHOST, 0))
        proxy.url = f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            proxy.abort()

    def abort(self) -> None:
        """Abort every connection, whatever its state."""
        self._loop.run(self._abort())

    async def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            self.aborted += 1
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(LOCALHOST, self._target)
        self._writers.add(writer)
        await asyncio.gather(_pass(reader, server_writer), _pass(server_reader, writer))
        self._writers.discard(writer)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(100):  # little, so that an abort falls within a frame
            writer.write(data)
            await writer.drain()
    writer.close()
