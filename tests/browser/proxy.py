"""A TCP proxy that cuts every connection on demand."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.server import LOCALHOST, Background


class Proxy:
    """Passes bytes on; `cuts` counts connections that were cut."""

    def __init__(self, port: int, loop: Background) -> None:
        self._target = port
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.cuts = 0

    @classmethod
    @contextmanager
    def to(cls, url: str, loop: Background) -> Iterator["Proxy"]:
        """A proxy before a server, for the time of a block."""
        proxy = cls(urlsplit(url).port or 80, loop)
        server = loop.run(asyncio.start_server(proxy._serve, LOCALHOST, 0))
        proxy.url = f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()

    def cut(self) -> None:
        """Break every connection off, wherever it is."""
        self._loop.run(self._cut())

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            self.cuts += 1
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, forward = await asyncio.open_connection(LOCALHOST, self._target)
        self._writers.add(writer)
        await asyncio.gather(_pass(reader, forward), _pass(behind, writer))
        self._writers.discard(writer)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(100):  # little, so that a cut falls into a frame
            writer.write(data)
            await writer.drain()
    writer.close()
