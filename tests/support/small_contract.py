"""A server for a small document of a test's own: for what the contract can do and no operation of ours uses yet."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from connexion.middleware import ConnexionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.contract import security
from app.contract.middleware import CompiledContract
from app.errors import NotFound
from app.observability.metrics import Metrics
from app.server.middleware import RequestMiddleware
from app.settings import Settings
from tests.support.contract import CannedBackend

BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
TEXT = {"text/plain": {"schema": {"type": "string"}}}
JSON: dict[str, Any] = {"application/json": {"schema": {}}}


def responses(*statuses: int, content: dict[str, Any] = JSON) -> dict[str, Any]:
    """Documented responses; those to which HTTP gives no content have none."""
    without = {204, 304}
    return {
        str(status): {"description": "-"} | ({} if status in without else {"content": content}) for status in statuses
    }


def parameter(name: str, place: str, **schema: Any) -> dict[str, Any]:
    """A parameter of the document, a text if nothing else is said."""
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"} | schema}


def definition(operation_id: str, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An operation of the document."""
    return {
        "operationId": operation_id,
        "x-role": "view",
        "parameters": [*parameters],
        "responses": responses(200),
    } | more


def document(paths: dict[str, Any]) -> dict[str, Any]:
    """A document with these paths below /v1."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "small", "version": "1"},
        "servers": [{"url": "/v1"}],
        "security": [{"bearer": []}],
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def serve(
    paths: dict[str, Any], *handlers: Callable[..., Awaitable[Any]], max_body: int = 1000, max_raw_body: int = 5000
) -> ASGIApp:
    """The server; each handler serves the operation of its name."""
    contract = functools.partial(
        CompiledContract,
        handlers={handler.__name__: handler for handler in handlers},
        backend=CannedBackend(),
        max_body=max_body,
        max_raw_body=max_raw_body,
    )
    app = ConnexionMiddleware(_no_page, middlewares=[contract], security_map=security.SECURITY_MAP)
    app.add_api(document(paths))
    return RequestMiddleware(app, settings=Settings(audit_log=None), metrics=Metrics(), ready=_ready)


async def _no_page(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound


async def _ready() -> None: ...
