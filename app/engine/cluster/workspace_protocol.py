"""How API servers ask a worker for the workspaces on its disk: HTTP on an internal address, with the worker's token.

Each method of `SessionWorkspace` is a request below `/workspaces/{session}`, where a session is a row id. Paths go in
URL-safe base64. The connection is closed before the end of a body if an error occurs while it is sent.

    GET  files?path&depth&limit         GET  archive?path&format       GET  diff?path&limit
    GET  file?path                      GET  patch?path                POST push
    GET  content?path&etag&start&end    PUT  file?path
"""

import base64
from collections.abc import Iterator

import msgspec

from app.errors import ApiError

WORKSPACES = "/workspaces"


class FileInfo(msgspec.Struct, frozen=True):
    """A file of a workspace, without its content."""

    size: int
    etag: str
    name: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """An error of a worker's, which the API server raises too."""

    code: str
    message: str


def encode_path(path: bytes) -> str:
    """Return a path as it is sent."""
    return base64.urlsafe_b64encode(path).decode()


def decode_path(text: str) -> bytes:
    """Return a path that was sent; `ValueError`."""
    return base64.urlsafe_b64decode(text)


def raised_by(refusal: Refusal) -> ApiError | None:
    """Return the error that a worker has raised; None if it is unknown here."""
    kind = next((each for each in _kinds(ApiError) if each.code == refusal.code), None)
    return kind(refusal.message) if kind else None


def _kinds(parent: type[ApiError]) -> Iterator[type[ApiError]]:
    """Yield the errors that are made of a message alone."""
    for kind in parent.__subclasses__():
        if kind.__init__ is ApiError.__init__:
            yield kind
        yield from _kinds(kind)
