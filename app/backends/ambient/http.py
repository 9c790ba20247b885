"""HTTP/1.1 to one server: kept connections, no redirects, no cookies, a time limit on every wait."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from yarl import URL

from app.backends.ambient.connection import BUFFERED_BYTES, Connection

KEPT_SECONDS = 15.0  # that a connection without work is kept: less than servers and proxies usually grant
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_FIELDS = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: ambient-public-api\r\n"


class Pool:
    """Connections to the server at `url`, as many as there are exchanges; `timeout` in seconds for each wait.

    All that goes wrong between here and there raises OSError, of which TimeoutError is one.
    """

    def __init__(self, url: str, timeout: float) -> None:
        parts = URL(url)
        self.path = parts.raw_path.rstrip("/")
        """What every target begins with."""
        self._timeout = timeout
        self._address = parts.host or "", parts.port or 0
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._head = f" HTTP/1.1\r\nHost: {parts.host_port_subcomponent}\r\n{_FIELDS}"
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(BUFFERED_BYTES))
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._open = True
        self._sweeper: asyncio.TimerHandle | None = None

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> "Exchange":
        """A request, sent as the block of the exchange is entered; all of them have to be printable ASCII."""
        if not (target + "".join(headers.values())).isprintable():
            raise ValueError("a control character in a request's head")
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        head = f"{method} {target}{self._head}{length}{lines}\r\n"
        return Exchange(self, head.encode("ascii") + body, repeatable=method in _REPEATABLE)

    async def send(self, request: bytes, *, repeatable: bool) -> Connection:
        """The connection on which the answer to a request has begun; it has to be given back.

        A server may close a kept connection at the moment in which it is used: what is `repeatable` is then sent
        again.
        """
        due = self._loop.time() + self._timeout
        if kept := self._kept():
            try:
                return await self._begin(kept, request, due)
            except ConnectionError:
                if kept.heard or not repeatable:
                    raise
        return await self._begin(await self._connect(due), request, due)

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next exchange if it is fit for one."""
        self._busy.discard(connection)
        if not self._open or not connection.rest():
            connection.abort()
            return
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(KEPT_SECONDS, self._sweep)

    async def close(self) -> None:
        """Cut every connection."""
        self._open = False
        if self._sweeper:
            self._sweeper.cancel()
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # for the transports to let go of their sockets

    async def _begin(self, connection: Connection, request: bytes, due: float) -> Connection:
        self._busy.add(connection)
        try:
            connection.send(request, due)
            await connection.head()
        except BaseException:
            self._busy.discard(connection)
            connection.abort()
            raise
        return connection

    def _kept(self) -> Connection | None:
        oldest = self._loop.time() - KEPT_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fit and connection.resting_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, due: float) -> Connection:
        if not self._open:
            raise ConnectionError("the pool is closed")
        async with asyncio.timeout_at(due):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._buffer, self._timeout), *self._address, ssl=self._ssl
            )
        return connection

    def _sweep(self) -> None:
        """Let go of the connections that were kept long enough, or that the server has closed."""
        oldest = self._loop.time() - KEPT_SECONDS
        for connection in self._idle:
            if not connection.is_fit or connection.resting_since <= oldest:
                connection.abort()
        self._idle = [connection for connection in self._idle if connection.is_fit]
        self._sweeper = self._loop.call_later(KEPT_SECONDS, self._sweep) if self._idle else None


class Exchange:
    """A request and its answer; a block that is left before the answer's end cuts the connection.

    The body comes whole (`read`), or in pieces as it arrives (`async for`): what is not taken is not read from the
    socket for long, and the time limit does not run meanwhile.
    """

    def __init__(self, pool: Pool, request: bytes, *, repeatable: bool) -> None:
        self._pool = pool
        self._request = request
        self._repeatable = repeatable
        self._connection: Connection

    async def __aenter__(self) -> Self:
        self._connection = await self._pool.send(self._request, repeatable=self._repeatable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.take_back(self._connection)

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self._connection.status

    @property
    def media_type(self) -> str:
        """The type of the body in lower case, without its parameters; empty where the answer names none."""
        return self._connection.media_type

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._connection.piece():
            yield piece

    async def read(self) -> bytes:
        """The rest of the body."""
        pieces = []
        while piece := await self._connection.piece():
            pieces.append(piece)
        return b"".join(pieces)
