"""HTTP to one server: kept connections, no redirects, no cookies, no proxies, a time limit on every wait."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import NamedTuple, Self

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError
from pyreqwest.request import StreamRequest
from pyreqwest.response import BaseResponse, Response
from yarl import URL

_KEPT = timedelta(seconds=15)  # that a connection without work is kept: less than servers and proxies usually grant
_PAUSE = timedelta(seconds=60)  # that a reader of pieces may take: longer than the server waits for a client
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Reply(NamedTuple):
    """An answer, read to its end."""

    status: int
    media_type: str
    body: bytes


class Pool:
    """Connections to the server at `url`, as many as there are exchanges; `timeout` in seconds for each wait.

    What goes wrong between here and there is a RequestError of the library or, if it is a time limit, a TimeoutError.
    A request whose caller is cancelled before the head of the answer goes on by itself until its time limit.
    """

    def __init__(self, url: str, timeout: float) -> None:
        # User information would become a second Authorization.
        self._root = str(URL(url).with_user(None)).rstrip("/")
        self._timeout = timeout
        limit = timedelta(seconds=timeout)
        self._fetching = _builder(limit).read_timeout(limit).build()
        # The library's time limit runs on while a slow reader takes nothing, so pieces have one of their own.
        self._streaming = _builder(limit).read_timeout(limit + _PAUSE).build()

    async def fetch(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """Send a request and read its whole answer; `target` comes behind the path of the server's URL."""
        try:
            return await self._fetch(method, target, headers, body)
        except ConnectError:
            # A server may close a kept connection at the moment in which it is used.
            if method != "GET":
                raise
            return await self._fetch(method, target, headers, body)

    async def _fetch(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        request = self._fetching.request(method, self._root + target).headers(headers)
        response = await (request.body_bytes(body) if body else request).build().send()
        return Reply(response.status, _media_type(response), (await response.bytes()).to_bytes())

    def exchange(self, target: str, headers: Mapping[str, str]) -> "Exchange":
        """A GET, sent as the block of the exchange is entered."""
        request = self._streaming.get(self._root + target).headers(headers)
        return Exchange(request.streamed_read_buffer_limit(1).build_streamed(), self._timeout)

    async def close(self) -> None:
        """Cut every connection; without it the library's threads would break the end of the process."""
        await self._fetching.close()
        await self._streaming.close()


class Exchange:
    """A request and its answer, whose body comes in pieces; a block that is left before its end cuts the connection.

    What is not taken is not read from the socket for long, and the time limit does not run meanwhile.
    """

    def __init__(self, request: StreamRequest, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._response: Response

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(self._timeout):
            self._response = await self._request.__aenter__()
        self.status = self._response.status
        self.media_type = _media_type(self._response)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._request.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = self._response.body_reader
        while True:
            async with asyncio.timeout(self._timeout):
                piece = await reader.read_chunk()
            if piece is None:
                return
            yield piece.to_bytes()


def _builder(connect_timeout: timedelta) -> ClientBuilder:
    """What all requests have in common."""
    return (
        ClientBuilder()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(_KEPT)
        .default_headers(_HEADERS)
        .user_agent("ambient-public-api")
        .follow_redirects(False)
        .referer(False)
        .no_proxy()
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
    )


def _media_type(response: BaseResponse) -> str:
    """The type of the body in lower case, without its parameters; empty where the answer names none."""
    return (response.get_header("content-type") or "").partition(";")[0].strip().lower()
