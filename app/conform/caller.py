"""A caller of the server under test, which compares every response with the document."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self
from uuid import uuid4

import requests

from app import spec
from app.conform.contract import Contract, require

TIMEOUT = (10, 90)
"""Seconds to connect and between two parts of a response: longer than any wait that the document permits."""


class Frame(NamedTuple):
    """An event of a stream and its cursor."""

    id: str
    event: dict[str, Any]


class Answer:
    """A response that the document describes."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.content = response.content

    @property
    def body(self) -> Any:
        """The decoded JSON body."""
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of an error, "" for any other response."""
        return str(self.body["code"]) if self.status >= requests.codes.bad_request and self.content else ""


class Caller:
    """One token in one project. Raises `Violation` for each response that the document does not describe."""

    def __init__(self, url: str, *, key: str, project: str = "") -> None:
        """`url` is the server's address without the path of the API's version."""
        self.contract = Contract(spec.published(spec.load()))
        self.base = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._key, self._project = key, project
        self._http = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self,
        operation_id: str,
        *path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        expect: int | tuple[int, ...] = (),
    ) -> Answer:
        """Send a request and return the response, which must have one of the expected statuses if there are any.

        `data` is sent as it is, `key` takes the place of the caller's.
        """
        method, target = self.contract.request(operation_id, *path)
        request_id = uuid4().hex
        sent = {**self._identity(key), "X-Request-ID": request_id, **(headers or {})}
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        response = self._http.request(
            method, self.base + target, params=query, json=body, data=data, headers=sent,
            timeout=TIMEOUT, allow_redirects=False,
        )  # fmt: skip
        where = f"{operation_id} responded with {response.status_code}"
        returned = response.headers.get("X-Request-ID")
        require(returned == sent["X-Request-ID"], f"{where}: X-Request-ID is {returned!r}, not the one that was sent")
        self.contract.check_response(operation_id, response)
        expected = expect if isinstance(expect, tuple) else (expect,)
        require(
            not expected or response.status_code in expected,
            f"{where} instead of {' or '.join(map(str, expected))}: {response.text[:300]}",
        )
        return Answer(response)

    def stream(self, *path: str, query: Mapping[str, Any] | None = None, after: str = "") -> Iterator[Frame]:
        """Yield the frames of a session's event stream until it ends."""
        headers = {**self._identity(None), **({"Last-Event-ID": after} if after else {})}
        yield from self._frames("stream_session_events", *path, params=query, headers=headers)

    def run_agent(self, session_id: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the events with which the server responds to an AG-UI client."""
        frames = self._frames("run_agent", session_id, json=body, headers=self._identity(None))
        return [frame.event for frame in frames]

    def _frames(self, operation_id: str, *path: str, **options: Any) -> Iterator[Frame]:
        method, target = self.contract.request(operation_id, *path)
        with self._http.request(method, self.base + target, stream=True, timeout=TIMEOUT, **options) as response:
            self.contract.check_response(operation_id, response)
            require(response.ok, f"an event stream responded with {response.status_code}")
            cursor = ""
            for line in response.iter_lines():
                name, _, value = line.partition(b": ")
                if name == b"id":
                    cursor = value.decode()
                elif name == b"data":
                    event = json.loads(value)
                    self.contract.check_event(event)
                    yield Frame(cursor, event)
                    cursor = ""

    def _identity(self, key: str | None) -> dict[str, str]:
        token = self._key if key is None else key
        named = {"X-Ambient-Project": self._project} if self._project else {}
        return {**named, "Authorization": f"Bearer {token}"} if token else named
