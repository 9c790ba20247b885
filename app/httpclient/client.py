"""Requests to one server over a pool of connections; `app.httpclient` lists what this client does not do."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Self

from yarl import URL

from app.httpclient.h1 import Connection

MAX_BODY_BYTES = 4 << 20
"""Largest body, by default, that is read into memory as a whole: JSON may take thirty times as much once decoded."""

_READ_BYTES = 262_144  # that a connection takes from its socket at once


class Response(NamedTuple):
    """A response that was read as a whole; `media_type` is lower case, empty if it is missing, its parameters apart."""

    status: int
    media_type: str
    body: bytes
    media_parameters: str = ""


class StreamedResponse:
    """A response whose head has arrived. Iterate over it for its body, in pieces that are never empty."""

    def __init__(self, connection: Connection, max_body: int) -> None:
        self._connection = connection
        self._max_body = max_body
        self.status = connection.status
        self.media_type = connection.media_type

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._connection.receive():
            return piece
        raise StopAsyncIteration

    async def read(self) -> Response:
        """Read the whole body; `ConnectionError` if it is larger than the client allows."""
        return Response(self.status, self.media_type, await self._connection.read(self._max_body))


class HttpClient:
    """Client for the server at `url`, whose path is put before the target of each request.

    `timeout` in seconds bounds each wait: for a connection, for the head of a response, for each further part of it.
    `max_body` in bytes bounds bodies that are read as a whole, not those that are streamed.

    Every error of connecting, sending and reading is an `OSError`: `TimeoutError` if a wait takes too long,
    `ConnectionError` if the server closes the connection, does not send HTTP, or sends too large a head or body.
    """

    def __init__(self, url: str, timeout: float, max_body: int = MAX_BODY_BYTES) -> None:
        # User information in the URL would become a second Authorization.
        server = URL(url).with_user(None)
        self._path = server.raw_path.rstrip("/")
        self._host, self._port = server.host or "", server.port or 0
        self._timeout = timeout
        self._max_body = max_body
        self._ssl = ssl.create_default_context() if server.scheme == "https" else None
        self._headers = (
            f"Host: {server.host_port_subcomponent}\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: ambient-public-api\r\n"
        )
        # Connections share it: each has parsed all of what it read before another one reads.
        self._buffer = bytearray(_READ_BYTES)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, max_body: int | None = None
    ) -> Response:
        """Send a request and read the whole response, which may have `max_body` bytes if that is given.

        `ValueError` for a header with control characters.
        """
        connection = await self._send(method, self._encode(method, target, headers, body))
        try:
            content = await connection.read(max_body or self._max_body)
        finally:
            self._release(connection)
        return Response(connection.status, connection.media_type, content, connection.media_parameters)

    @asynccontextmanager
    async def stream(self, target: str, headers: Mapping[str, str]) -> AsyncGenerator[StreamedResponse, None]:
        """Send a GET and yield its response; leaving the block before the end of the body closes the connection.

        A body that is read slowly is received slowly, and the time limit does not run while the reader pauses.
        """
        connection = await self._send("GET", self._encode("GET", target, headers, b""))
        try:
            yield StreamedResponse(connection, self._max_body)
        finally:
            self._release(connection)

    async def close(self) -> None:
        """Close all connections, whatever they are doing; requests raise `ConnectionError` from then on."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    async def _send(self, method: str, request: bytes) -> Connection:
        """Return the connection on which the head of the response has arrived."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await _exchange(connection, request)
            except ConnectionError:
                # A server may close an idle connection at the moment in which it is reused.
                if connection.received or method != "GET":
                    raise
        return await _exchange(await self._connect(), request)

    async def _connect(self) -> Connection:
        if self._closed:
            raise ConnectionError("The client is closed.")
        make = partial(Connection, self._timeout, self._buffer, self._remove)
        async with asyncio.timeout(self._timeout):
            _, connection = await asyncio.get_running_loop().create_connection(
                make, self._host, self._port, ssl=self._ssl
            )
        if self._closed:  # meanwhile
            connection.abort()
            raise ConnectionError("The client is closed.")
        self._open.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        if connection.release():
            self._idle.append(connection)

    def _remove(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _encode(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {self._path}{target} HTTP/1.1\r\n", self._headers]
        for name, value in headers.items():
            if not value.isprintable():
                raise ValueError(f"header {name} has a control character")
            lines.append(f"{name}: {value}\r\n")
        if method != "GET":
            lines.append(f"Content-Length: {len(body)}\r\n")
        return "".join([*lines, "\r\n"]).encode("latin-1") + body


async def _exchange(connection: Connection, request: bytes) -> Connection:
    try:
        await connection.send(request)
    except BaseException:
        connection.abort()
        raise
    return connection
