"""HTTP to the API: every answer as parsed JSON, everything that goes wrong as one sentence."""

import re
import time
from collections.abc import Mapping
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 75.0
MAX_ATTEMPTS = 3
RESEND_SECONDS = 0.5
STREAM_SECONDS = 45.0
"""Three of the server's heartbeats: a stream that is silent for longer has lost its connection."""

_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
_WRONG_PROJECT = frozenset({"project_required", "project_mismatch"})
_SESSION_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HEADER = re.compile(r"[!-~]+")


class CliError(Exception):
    """What went wrong: a sentence for a person, the API's code, and whether it may be `passing`."""

    def __init__(self, sentence: str, *, code: str = "", passing: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.code = code
        self.retryable = passing
        self.retry_after = retry_after


class ConnectionLost(CliError):
    """No answer came, or the first sending of the same request is still under way."""


class ApiClient:
    """One caller of one server, for one thread and short calls from others; to be closed."""

    def __init__(self, url: str, *, key: str, project: str) -> None:
        """Raise Failure when one of them cannot be right; an empty key or project is not sent, a key never repeated."""
        self._url = _checked(url)
        if key and not _HEADER.fullmatch(key):
            raise CliError("The key holds a character that no key has.")
        if project and not _HEADER.fullmatch(project):
            raise CliError("The project's name holds a character that no such name has.")
        self._http = requests.Session()
        self._http.auth = _Token(key)
        self._http.headers.update({"Accept-Encoding": "identity", "User-Agent": "ambient-public-api-cli"})
        if project:
            self._http.headers["X-Ambient-Project"] = project

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, **query: Any) -> Any:
        """The JSON body of a GET of /v1 and `path`; raises Failure."""
        return self._json(self._send("GET", path, query=query))

    def post(self, *path: str, **body: Any) -> Any:
        """The JSON body of the answer to a POST, with a body if there is one; raises Failure."""
        return self._json(self._send("POST", path, body=body or None))

    def create(self, *path: str, **body: Any) -> Any:
        """The JSON body of the answer to a POST that makes something; raises Failure.

        When its connection breaks it is sent again, under a key by which the server knows it for the same.
        """
        headers = {"Idempotency-Key": str(uuid4())}
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self._json(self._send("POST", path, body=body, headers=headers))
            except ConnectionLost:
                time.sleep(RESEND_SECONDS)
        return self._json(self._send("POST", path, body=body, headers=headers))

    def delete(self, *path: str) -> None:
        """Send a DELETE; raises Failure."""
        self._send("DELETE", path)

    def stream(self, *path: str, after: int, **query: Any) -> requests.Response:
        """An open stream of events behind the position `after`; raises Failure. To be closed."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        response = self._send("GET", path, query=query, headers=headers, seconds=STREAM_SECONDS, stream=True)
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            response.close()
            self._not_this_api(response)
        return response

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        stream: bool = False,
    ) -> requests.Response:
        try:
            response = self._http.request(
                method,
                "/".join((self._url, "v1", *(quote(part, safe="") for part in path))),
                params=query,
                json=body,
                headers=headers,
                timeout=(CONNECT_SECONDS, seconds),
                allow_redirects=False,
                stream=stream,
            )
        except requests.Timeout as error:
            raise CliError(f"{self._url} did not answer in time.", passing=True) from error
        except requests.RequestException as error:
            raise ConnectionLost(f"{self._url} cannot be reached. Is the server running?", passing=True) from error
        if response.status_code >= 300:  # noqa: PLR2004 - whatever is no success
            with response:
                self._refuse(response)
        return response

    def _json(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except requests.JSONDecodeError:
            self._not_this_api(response, ConnectionLost)  # it may have been cut off within its head

    def _refuse(self, response: requests.Response) -> NoReturn:
        try:
            answer = response.json()
            sentence, code = str(answer["error"]), str(answer.get("code"))
        except (requests.RequestException, LookupError, TypeError):
            self._not_this_api(response)
        if response.status_code == requests.codes.unauthorized:
            sentence = f"{sentence} AMBIENT_KEY names the key to use."
        elif code in _WRONG_PROJECT:
            sentence = f"{sentence} AMBIENT_PROJECT or --project names the project to use."
        waiting = response.headers.get("Retry-After", "")
        kind = ConnectionLost if code == "idempotency_key_in_use" else CliError
        raise kind(
            sentence,
            code=code,
            passing=response.status_code in _TRY_AGAIN,
            retry_after=float(waiting) if waiting.isdecimal() else 0.0,
        )

    def _not_this_api(self, response: requests.Response, kind: type[CliError] = CliError) -> NoReturn:
        """Whoever answered is not the API, or something stands before it."""
        raise kind(
            f"What answers at {self._url} is not this API (status {response.status_code}).",
            passing=response.status_code in _TRY_AGAIN,
        )


class _Token(requests.auth.AuthBase):
    """The key as bearer token; with any `auth`, requests reads no other from a .netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def check_session(session: str) -> None:
    """Raise Failure for what no session can be called; a path such as `..` would lead elsewhere."""
    if not _SESSION_ID.fullmatch(session):
        raise CliError("A session's id is 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.")


def _checked(url: str) -> str:
    """The server's URL without what follows its path's last part before /v1."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.username is not None or parts.query or parts.fragment:
        raise CliError("The server's URL must be such as http://127.0.0.1:8081, without user, query or fragment.")
    return url.rstrip("/").removesuffix("/v1")
