"""Where the peers have their answers from: ready in memory, or the platform over the HTTP client that suits them."""

import json
from typing import Protocol

import aiohttp
import requests

from tests.bench.peers import asks
from tests.bench.peers.asks import Ask, Json
from tests.bench.resources import accepted, page, resource


class PlatformError(Exception):
    """An answer of the platform that is none."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Source(Protocol):
    """For handlers that are coroutines."""

    async def answer(self, ask: Ask) -> Json:
        """What the API tells; PlatformError."""


class BlockingSource(Protocol):
    """For handlers that are not."""

    def answer(self, ask: Ask) -> Json:
        """What the API tells; PlatformError."""


class BlockingReady:
    """Answers made before."""

    def __init__(self) -> None:
        kinds = (asks.page("", "", 100, 0), page()), (asks.run("", "", "s1", ""), accepted())
        self._session = asks.public(resource("s1"))
        self._others = {ask.path.rpartition("/")[2]: ask.read(found) for ask, found in kinds}

    def answer(self, ask: Ask) -> Json:
        """The one for the kind of thing that is asked."""
        return self._others.get(ask.path.rpartition("/")[2], self._session)


class Ready:
    """Answers made before."""

    def __init__(self) -> None:
        self._ready = BlockingReady()

    async def answer(self, ask: Ask) -> Json:
        """The one for the kind of thing that is asked."""
        return self._ready.answer(ask)


class Live:
    """The platform over aiohttp, as the server's own adapter asks it."""

    def __init__(self, url: str) -> None:
        self._root = f"{url}/api/projects"
        self._client: aiohttp.ClientSession | None = None

    async def answer(self, ask: Ask) -> Json:
        """Ask it."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        request = self._client.request(
            ask.method, f"{self._root}/{ask.path}", params=ask.query, json=ask.body, headers=_headers(ask)
        )
        async with request as response:
            return _read(ask, response.status, await response.read())


class BlockingLive:
    """The platform over requests."""

    def __init__(self, url: str) -> None:
        self._root = f"{url}/api/projects"
        self._client = requests.Session()
        self._client.trust_env = False

    def answer(self, ask: Ask) -> Json:
        """Ask it."""
        response = self._client.request(
            ask.method, f"{self._root}/{ask.path}", params=ask.query, json=ask.body, headers=_headers(ask), timeout=30
        )
        return _read(ask, response.status_code, response.content)


def source(platform: str | None) -> Source:
    """The platform at that URL, or none."""
    return Live(platform) if platform else Ready()


def blocking_source(platform: str | None) -> BlockingSource:
    """The platform at that URL, or none."""
    return BlockingLive(platform) if platform else BlockingReady()


def _headers(ask: Ask) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask.token}"}


def _read(ask: Ask, status: int, body: bytes) -> Json:
    found = json.loads(body)
    if status not in (200, 202):
        raise PlatformError(status, str(found.get("error", "Request failed")))
    return ask.read(found)
