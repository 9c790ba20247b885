"""The head of a request, read once from the ASGI scope."""

from typing import Any

from starlette.types import Scope

from app.errors import BadRequest, Detail


class Request:
    """The head of one request; `context` is what Connexion's security writes its result to."""

    __slots__ = ("context", "headers", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.context: dict[str, Any] = {}
        self.headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def header(self, name: str) -> str | None:
        """The one value of a header, None without it; a header that came twice is a `BadRequest`."""
        values = self.headers.get(name.lower())
        if values is None:
            return None
        if len(values) > 1:
            raise BadRequest(details=[Detail(f"header.{name}", "must be sent once")])
        return values[0]
