"""Connexion as it comes, on the same document: the reference that the compiled contract is compared with."""

from pathlib import Path
from typing import Any

import connexion
from connexion.resolver import Resolver
from starlette.types import ASGIApp, Receive, Scope, Send

from app import spec
from app.contract.middleware import METHODS
from app.factory import create_app
from tests.support.contract import CannedBackend, Response, Sent, call, settings
from tests.support.server import Background


def token_info(token: str, **_: Any) -> dict[str, str]:
    """Any token is good."""
    return {"sub": token}


def success(document: dict[str, Any], operation: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """Status and Content-Type of an operation's success, which stock Connexion takes from the handler."""
    status, response = next(found for found in operation["responses"].items() if found[0] < "3")
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return int(status), {"Content-Type": next(iter(response.get("content", ["application/json"])))}


def stock_app() -> ASGIApp:
    """The whole document served by an AsyncApp, each of whose handlers succeeds."""
    document = spec.load()
    schemes = document["components"]["securitySchemes"]
    schemes["bearer"]["x-bearerInfoFunc"] = schemes["forwarded_token"]["x-apikeyInfoFunc"] = f"{__name__}.token_info"
    successes = {
        item[method]["operationId"]: success(document, item[method])
        for item in document["paths"].values()
        for method in METHODS
        if method in item
    }

    def handler(operation_id: str) -> Any:
        async def succeed(body: dict[str, Any] | None = None, **_arguments: Any) -> tuple[Any, ...]:
            return {"names": [name for name, _ in body.items()] if body else []}, *successes[operation_id]

        return succeed

    app = connexion.AsyncApp("stock")
    app.add_api(document, resolver=Resolver(handler), strict_validation=True)

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise  # what fails in a request was answered with 500 before

    return answered


class Pair:
    """Two servers of one document, and what reached the backend of ours."""

    def __init__(self, loop: Background, directory: Path) -> None:
        self._loop = loop
        self._stock = stock_app()
        self.backend = CannedBackend()
        self._ours = create_app(settings(directory), self.backend)

    def stock(self, sent: Sent) -> Response:
        """The response of stock Connexion."""
        return self._loop.run(call(self._stock, sent))

    def ours(self, sent: Sent) -> Response:
        """The response of the compiled contract."""
        return self._loop.run(call(self._ours, sent))
