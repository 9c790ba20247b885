"""HTTP to the API: responses as parsed JSON, failures as a `CliError`."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, NoReturn, Self, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests

CONNECT_SECONDS = 10.0
RESPONSE_SECONDS = 75.0
STREAM_SECONDS = 45.0
"""Three of the server's heartbeats: a stream that is silent for longer has lost its connection."""
MAX_ATTEMPTS = 3
RETRY_SECONDS = 0.5
RECONNECT_SECONDS = 60.0
"""How long a server that has responded before may be unreachable until a reader gives up."""
MAX_DELAY = 5.0
"""Seconds between attempts, at most, unless the server asks for more."""

_RETRYABLE = frozenset({408, 429, 502, 503, 504})
_PROJECT_ERRORS = frozenset({"project_required", "project_mismatch"})
_SESSION_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HEADER = re.compile(r"[!-~]+")

T = TypeVar("T")


class CliError(Exception):
    """A request that failed.

    `code` is the API's error code, if the API sent one, and `locations` names the parts of the request at fault.
    `retryable` says that the same request may succeed later, and `retry_after` how many seconds the server asks to
    wait.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        locations: Iterable[str] = (),
        retryable: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.locations = frozenset(locations)
        self.retryable = retryable
        self.retry_after = retry_after


class ConnectionLost(CliError):
    """No response arrived, or the first attempt of the same request is still in progress."""


class ApiClient:
    """One caller of one server, for one thread and short calls from others; to be closed.

    Once the server has responded, whatever reads is tried again while the server is away, for a limited time.
    """

    def __init__(self, url: str, *, key: str, project: str, on_loss: Callable[[str], None]) -> None:
        """Raise `CliError` for a malformed argument, without repeating the key. An empty key or project is not sent.

        `on_loss` is called with a message when a connection is lost and the request is tried again.
        """
        self._url = _base_url(url)
        self._on_loss = on_loss
        self._has_responded = self._is_away = False
        if key and not _HEADER.fullmatch(key):
            raise CliError("The key contains a character that no key has.")
        if project and not _HEADER.fullmatch(project):
            raise CliError("The project's name contains a character that no such name has.")
        self._http = requests.Session()
        self._http.auth = _BearerToken(key)
        self._http.headers.update({"Accept-Encoding": "identity", "User-Agent": "ambient-public-api-cli"})
        if project:
            self._http.headers["X-Ambient-Project"] = project

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, **query: Any) -> Any:
        """Return the body of a GET of /v1 and `path`. Raises `CliError`."""
        return self._repeatedly(lambda: self._parse(self._send("GET", path, query=query)))

    def post(self, *path: str, **body: Any) -> Any:
        """Return the response's body of a POST, which sends a body unless `body` is empty. Raises `CliError`."""
        return self._parse(self._send("POST", path, body=body or None))

    def create(self, *path: str, **body: Any) -> Any:
        """Like `post`, but send it again if the connection breaks, with an Idempotency-Key so that it counts once."""
        headers = {"Idempotency-Key": str(uuid4())}
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self._parse(self._send("POST", path, body=body, headers=headers))
            except ConnectionLost:
                time.sleep(RETRY_SECONDS)
        return self._parse(self._send("POST", path, body=body, headers=headers))

    def delete(self, *path: str) -> None:
        """Send a DELETE. Raises `CliError`."""
        self._send("DELETE", path)

    def stream(self, *path: str, after: str | None, **query: Any) -> requests.Response:
        """Return an open stream of the events after a cursor or of all events; to be closed. Raises `CliError`."""
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
        return self._open(path, "text/event-stream", headers=headers, query=query, seconds=STREAM_SECONDS)

    def download(
        self, *path: str, query: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Return an open response with bytes; to be closed. Raises `CliError`."""
        return self._open(path, "application/octet-stream", headers=headers, query=query)

    def upload(self, *path: str, query: Mapping[str, Any], content: IO[bytes] | Iterable[bytes]) -> None:
        """Send a file, or bytes of unknown number, as the body of a PUT. Raises `CliError`."""
        headers = {"Content-Type": "application/octet-stream"}
        self._send("PUT", path, query=query, headers=headers, content=content)

    def report_loss(self) -> None:
        """Report that the connection was lost, once until there is a response again."""
        if not self._is_away:
            self._on_loss("The connection was lost; trying again.")
        self._is_away = True

    def _open(self, path: tuple[str, ...], media_type: str, **options: Any) -> requests.Response:
        response = self._repeatedly(lambda: self._send("GET", path, stream=True, **options))
        if not response.headers.get("Content-Type", "").startswith(media_type):
            response.close()
            self._not_this_api(response)
        return response

    def _repeatedly(self, request: Callable[[], T]) -> T:
        """Return what `request` returns, trying again while a server that has responded before is away."""
        deadline, delay = time.monotonic() + RECONNECT_SECONDS, RETRY_SECONDS
        while True:
            try:
                return request()
            except CliError as error:
                if not (error.retryable and self._has_responded) or time.monotonic() > deadline:
                    raise
                self.report_loss()
                time.sleep(max(delay, min(error.retry_after, RECONNECT_SECONDS)))
                delay = min(delay * 2, MAX_DELAY)

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content: IO[bytes] | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = RESPONSE_SECONDS,
        stream: bool = False,
    ) -> requests.Response:
        try:
            response = self._http.request(
                method,
                "/".join((self._url, "v1", *(quote(part, safe="") for part in path))),
                params=query,
                json=body,
                data=content,
                headers=headers,
                timeout=(CONNECT_SECONDS, seconds),
                allow_redirects=False,
                stream=stream,
            )
        except requests.Timeout as error:
            raise CliError(f"{self._url} did not respond in time.", retryable=True) from error
        except requests.RequestException as error:
            raise ConnectionLost(f"{self._url} cannot be reached. Is the server running?", retryable=True) from error
        if response.status_code >= requests.codes.multiple_choices:
            with response:
                self._raise_error(response)
        self._has_responded, self._is_away = True, False
        return response

    def _parse(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except requests.JSONDecodeError:
            self._not_this_api(response, ConnectionLost)  # the connection may have broken within the response's head

    def _raise_error(self, response: requests.Response) -> NoReturn:
        try:
            body = response.json()
            message, code = str(body["error"]), str(body.get("code"))
            locations = [str(detail["location"]) for detail in body.get("details", ())]
        except (requests.RequestException, LookupError, TypeError):
            self._not_this_api(response)
        if response.status_code == requests.codes.unauthorized:
            message = f"{message} Set AMBIENT_KEY to a valid key."
        elif code in _PROJECT_ERRORS:
            message = f"{message} Set AMBIENT_PROJECT or --project."
        retry_after = response.headers.get("Retry-After", "")
        kind = ConnectionLost if code == "idempotency_key_in_use" else CliError
        raise kind(
            message,
            code=code,
            locations=locations,
            retryable=response.status_code in _RETRYABLE,
            retry_after=float(retry_after) if retry_after.isdecimal() else 0.0,
        )

    def _not_this_api(self, response: requests.Response, kind: type[CliError] = CliError) -> NoReturn:
        """Raise the error for a response of some other server, or of a proxy in front of this one."""
        raise kind(
            f"{self._url} does not respond like this API (status {response.status_code}).",
            retryable=response.status_code in _RETRYABLE,
        )


class _BearerToken(requests.auth.AuthBase):
    """The key as bearer token. Because there is some `auth`, requests reads no other from a .netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def check_session_id(session_id: str) -> None:
    """Raise `CliError` for an id that no session can have; one such as `..` would lead to another URL."""
    if not _SESSION_ID.fullmatch(session_id):
        raise CliError("A session's id is 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.")


def _base_url(url: str) -> str:
    """Return the server's URL without a trailing `/` or `/v1`. Raises `CliError`."""
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain or parts.username is not None or parts.query or parts.fragment:
        raise CliError("The server's URL must be such as http://127.0.0.1:8081, without user, query or fragment.")
    return url.rstrip("/").removesuffix("/v1")
