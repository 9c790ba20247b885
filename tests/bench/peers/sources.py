"""The peers' data: prepared in memory, or from the platform through a suitable HTTP client."""

import json
from typing import Protocol
from urllib.parse import urlencode

import requests

from app.httpclient.client import HttpClient
from tests.bench.peers import platform_requests
from tests.bench.peers.platform_requests import Json, PlatformRequest
from tests.bench.resources import accepted, page, resource

_MAX_EXPORT = 1 << 30  # bytes


class PlatformError(Exception):
    """An error response of the platform."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Source(Protocol):
    """A source for handlers that are coroutines."""

    async def get(self, request: PlatformRequest) -> Json:
        """Return the mapped response; PlatformError."""

    async def body(self, request: PlatformRequest) -> bytes:
        """Return the body of the response; PlatformError."""


class BlockingSource(Protocol):
    """A source for blocking handlers."""

    def get(self, request: PlatformRequest) -> Json:
        """Return the mapped response; PlatformError."""


class BlockingPrepared:
    """Prepared responses."""

    def __init__(self) -> None:
        prepared = (
            (platform_requests.page("", "", 100, 0), page()),
            (platform_requests.run("", "", "s1", ""), accepted()),
        )
        self._session = platform_requests.public(resource("s1"))
        self._others = {request.path.rpartition("/")[2]: request.read(found) for request, found in prepared}

    def get(self, request: PlatformRequest) -> Json:
        """Return the prepared response for the kind of request."""
        return self._others.get(request.path.rpartition("/")[2], self._session)


class Prepared:
    """Prepared responses."""

    def __init__(self) -> None:
        self._prepared = BlockingPrepared()

    async def get(self, request: PlatformRequest) -> Json:
        """Return the prepared response for the kind of request."""
        return self._prepared.get(request)

    async def body(self, _request: PlatformRequest) -> bytes:
        """Return an export without events."""
        return b'{"aguiEvents":null}'


class Live:
    """The platform, through the server's own HTTP client."""

    def __init__(self, url: str) -> None:
        self._client = HttpClient(url, timeout=30, max_body=_MAX_EXPORT)

    async def get(self, request: PlatformRequest) -> Json:
        """Send the request."""
        return request.read(json.loads(await self.body(request)))

    async def body(self, request: PlatformRequest) -> bytes:
        """Send the request."""
        target = f"/api/projects/{request.path}" + (f"?{urlencode(request.query)}" if request.query else "")
        content = json.dumps(request.body).encode() if request.body else b""
        headers = {**_headers(request), **({"Content-Type": "application/json"} if content else {})}
        reply = await self._client.request(request.method, target, headers, content)
        return _checked(reply.status, reply.body)


class BlockingLive:
    """The platform, through the library requests."""

    def __init__(self, url: str) -> None:
        self._root = f"{url}/api/projects"
        self._client = requests.Session()
        self._client.trust_env = False

    def get(self, request: PlatformRequest) -> Json:
        """Send the request."""
        response = self._client.request(
            request.method,
            f"{self._root}/{request.path}",
            params=request.query,
            json=request.body,
            headers=_headers(request),
            timeout=30,
        )
        return request.read(json.loads(_checked(response.status_code, response.content)))


def source(platform: str | None) -> Source:
    """Return the platform at that URL, or prepared responses without one."""
    return Live(platform) if platform else Prepared()


def blocking_source(platform: str | None) -> BlockingSource:
    """Return the platform at that URL, or prepared responses without one."""
    return BlockingLive(platform) if platform else BlockingPrepared()


def _headers(request: PlatformRequest) -> dict[str, str]:
    return {"Authorization": f"Bearer {request.token}"}


def _checked(status: int, body: bytes) -> bytes:
    if status not in (200, 202):
        raise PlatformError(status, str(json.loads(body).get("error", "Request failed")))
    return body
