"""Where the peers have their answers from: ready in memory, or the platform over the HTTP client that suits them."""

import json
from typing import Protocol
from urllib.parse import urlencode

import requests

from app.httpclient.client import HttpClient
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

    async def body(self, ask: Ask) -> bytes:
        """What the platform says, unread; PlatformError."""


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

    async def body(self, _ask: Ask) -> bytes:
        """An export without events."""
        return b'{"aguiEvents":null}'


class Live:
    """The platform over the client that the server's own adapter asks it with."""

    def __init__(self, url: str) -> None:
        self._client = HttpClient(url, timeout=30)

    async def answer(self, ask: Ask) -> Json:
        """Ask it."""
        return ask.read(json.loads(await self.body(ask)))

    async def body(self, ask: Ask) -> bytes:
        """Ask it."""
        target = f"/api/projects/{ask.path}" + (f"?{urlencode(ask.query)}" if ask.query else "")
        content = json.dumps(ask.body).encode() if ask.body else b""
        headers = {**_headers(ask), **({"Content-Type": "application/json"} if content else {})}
        reply = await self._client.request(ask.method, target, headers, content)
        return _checked(reply.status, reply.body)


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
        return ask.read(json.loads(_checked(response.status_code, response.content)))


def source(platform: str | None) -> Source:
    """The platform at that URL, or none."""
    return Live(platform) if platform else Ready()


def blocking_source(platform: str | None) -> BlockingSource:
    """The platform at that URL, or none."""
    return BlockingLive(platform) if platform else BlockingReady()


def _headers(ask: Ask) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask.token}"}


def _checked(status: int, body: bytes) -> bytes:
    if status not in (200, 202):
        raise PlatformError(status, str(json.loads(body).get("error", "Request failed")))
    return body
