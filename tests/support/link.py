"""A TCP proxy to the database that can drop all data silently, as a network partition does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from tests.support.server import LOCALHOST, Background

CHUNK = 1 << 16


class Link:
    """Passes connections on to the database of a URL, which is on a socket of this machine."""

    def __init__(self, loop: Background, url: str) -> None:
        self._loop = loop
        self._database = conninfo_to_dict(url)
        self._whole = asyncio.Event()
        self._whole.set()
        self._server = loop.run(asyncio.start_server(self._connect, LOCALHOST, 0))

    @property
    def url(self) -> str:
        """The URL of the database over the link."""
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._database['user']}@{LOCALHOST}:{port}/{self._database['dbname']}"

    def cut(self) -> None:
        """Let nothing pass, in neither direction, whatever it is."""
        self._loop.run(self._set(whole=False))

    def mend(self) -> None:
        """Let everything pass, also what was sent meanwhile."""
        self._loop.run(self._set(whole=True))

    async def _set(self, *, whole: bool) -> None:
        self._whole.set() if whole else self._whole.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        socket = Path(str(self._database["host"])) / f".s.PGSQL.{self._database.get('port', 5432)}"
        try:
            from_database, to_database = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass_on(reader, to_database), self._pass_on(from_database, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, RuntimeError):  # the latter is uvloop's for a connection that is closed
            while chunk := await reader.read(CHUNK):
                await self._whole.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextmanager
def link_to(loop: Background, url: str) -> Iterator[Link]:
    """Yield a link that is whole."""
    link = Link(loop, url)
    try:
        yield link
    finally:
        link.mend()
        loop.run(_close(link._server))


async def _close(server: asyncio.Server) -> None:
    server.close()
