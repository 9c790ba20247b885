"""HTTP to one server: kept connections, no redirects, no cookies, no proxies, a time limit on every wait."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from yarl import URL

from app.httpclient.h1 import Connection

_READ_BYTES = 262_144  # that a connection takes from its socket at once


class Response(NamedTuple):
    """An answer, read to its end."""

    status: int
    media_type: str
    body: bytes


class Pool:
    """Connections to the server at `url`, as many as there are exchanges; `timeout` in seconds for each wait.

    What goes wrong between here and there is an OSError: if it is a time limit, a TimeoutError.
    """

    def __init__(self, url: str, timeout: float) -> None:
        # User information would become a second Authorization.
        server = URL(url).with_user(None)
        self._path = server.raw_path.rstrip("/")
        self._host, self._port = server.host or "", server.port or 0
        self._timeout = timeout
        self._ssl = ssl.create_default_context() if server.scheme == "https" else None
        self._always = (
            f"Host: {server.host_port_subcomponent}\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: ambient-public-api\r\n"
        )
        self._buffer = bytearray(_READ_BYTES)
        self._free: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False

    async def fetch(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request and read its whole answer; `target` comes behind the path of the server's URL."""
        connection = await self._answered(method, self._request(method, target, headers, body), bounded=False)
        try:
            content = await connection.body()
        finally:
            self._release(connection)
        return Response(connection.status, connection.media_type, content)

    @asynccontextmanager
    async def exchange(self, target: str, headers: Mapping[str, str]) -> AsyncGenerator[Connection, None]:
        """A GET and its answer, whose body comes in pieces; a block that is left before its end cuts the connection.

        What is not taken is not read from the socket for long, and the time limit does not run meanwhile.
        """
        connection = await self._answered("GET", self._request("GET", target, headers, b""), bounded=True)
        try:
            yield connection
        finally:
            self._release(connection)

    async def close(self) -> None:
        """Cut every connection, for good."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    async def _answered(self, method: str, request: bytes, *, bounded: bool) -> Connection:
        """The connection on which an answer has begun."""
        while self._free:
            connection = self._free.pop()
            try:
                return await self._sent(connection, request, bounded=bounded)
            except ConnectionError:
                # A server may close a kept connection at the moment in which it is used.
                if connection.received or method != "GET":
                    raise
        return await self._sent(await self._connected(), request, bounded=bounded)

    async def _sent(self, connection: Connection, request: bytes, *, bounded: bool) -> Connection:
        try:
            await connection.send(request, bounded=bounded)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connected(self) -> Connection:
        if self._closed:
            raise ConnectionError("The pool is closed.")
        make = partial(Connection, self._timeout, self._buffer, self._forget)
        async with asyncio.timeout(self._timeout):
            _, connection = await asyncio.get_running_loop().create_connection(
                make, self._host, self._port, ssl=self._ssl
            )
        self._open.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        if connection.release():
            self._free.append(connection)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """A whole request as it goes over the wire; ValueError for a header that would not stay in its line."""
        lines = [f"{method} {self._path}{target} HTTP/1.1\r\n", self._always]
        for name, value in headers.items():
            if not value.isprintable():
                raise ValueError(f"header {name} has a control character")
            lines.append(f"{name}: {value}\r\n")
        if method != "GET":
            lines.append(f"Content-Length: {len(body)}\r\n")
        return "".join([*lines, "\r\n"]).encode("latin-1") + body
