"""The head of a request, read once from the ASGI scope."""

import asyncio
from typing import Any, Protocol

from starlette.types import Scope

from app.errors import BadRequest, Detail


class ClientConnection(Protocol):
    """What the server offers in the scope's state as `connection`.

    `stopping` is set once the server stops. `request_complete` says that no more of the request is waited for.
    """

    stopping: asyncio.Event
    request_complete: bool

    def abort(self) -> None:
        """Cut the connection and drop what has not been sent."""


class Request:
    """The head of one request; `context` is what Connexion's security writes its result to."""

    __slots__ = ("context", "headers", "size")

    def __init__(self, scope: Scope) -> None:
        self.context: dict[str, Any] = {}
        self.headers: dict[str, list[str]] = {}
        self.size = 0
        """Bytes of the headers as they came over the wire."""
        for raw_name, raw_value in scope["headers"]:
            self.size += len(raw_name) + len(raw_value) + 4
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in self.headers:
                self.headers[name].append(value)
            else:
                self.headers[name] = [value]

    def header(self, name: str) -> str | None:
        """The one value of a header, None without it; a header that came twice is a `BadRequest`."""
        values = self.headers.get(name.lower())
        if values is None:
            return None
        if len(values) > 1:
            raise BadRequest(details=[Detail(f"header.{name}", "must be sent once")])
        return values[0]

    def first(self, name: str) -> str | None:
        """The first value of a header, whose name is given in lower case."""
        values = self.headers.get(name)
        return values[0] if values else None
