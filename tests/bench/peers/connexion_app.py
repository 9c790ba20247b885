"""The three operations with stock Connexion and the server's own document: AsyncApp, and FlaskApp with Flask."""

from collections.abc import Callable
from typing import Any

import connexion
from connexion.exceptions import ProblemException
from connexion.resolver import Resolver
from starlette.types import ASGIApp

from app import spec
from tests.bench.peers import platform_requests
from tests.bench.peers.sources import BlockingSource, Source
from tests.support.stock import token_info

JSON = {"Content-Type": "application/json"}
PROJECT = "X-Ambient-Project"

Response = tuple[dict[str, Any], int, dict[str, str]]


def asynchronous(source: Source) -> ASGIApp:
    """Return an AsyncApp."""

    async def get_session(session_id: str, user: str, **_: Any) -> Response:
        return await source.get(platform_requests.session(user, _project(), session_id)), 200, JSON

    async def list_sessions(user: str, limit: int = 20, offset: int = 0, **_: Any) -> Response:
        return await source.get(platform_requests.page(user, _project(), limit, offset)), 200, JSON

    async def send_message(session_id: str, body: dict[str, Any], user: str, **_: Any) -> Response:
        _need_running(await source.get(platform_requests.session(user, _project(), session_id)))
        return await source.get(platform_requests.run(user, _project(), session_id, body["content"])), 202, JSON

    async def other(**_: Any) -> Response:
        return {"error": "not implemented"}, 501, JSON

    return _serving(connexion.AsyncApp("peer"), (get_session, list_sessions, send_message), other)


def flask(source: BlockingSource) -> ASGIApp:
    """Return a FlaskApp."""

    def get_session(session_id: str, user: str, **_: Any) -> Response:
        return source.get(platform_requests.session(user, _project(), session_id)), 200, JSON

    def list_sessions(user: str, limit: int = 20, offset: int = 0, **_: Any) -> Response:
        return source.get(platform_requests.page(user, _project(), limit, offset)), 200, JSON

    def send_message(session_id: str, body: dict[str, Any], user: str, **_: Any) -> Response:
        _need_running(source.get(platform_requests.session(user, _project(), session_id)))
        return source.get(platform_requests.run(user, _project(), session_id, body["content"])), 202, JSON

    def other(**_: Any) -> Response:
        return {"error": "not implemented"}, 501, JSON

    return _serving(connexion.FlaskApp("peer"), (get_session, list_sessions, send_message), other)


def _serving(app: Any, handlers: tuple[Callable[..., Any], ...], other: Callable[..., Any]) -> ASGIApp:
    document = spec.load()
    schemes = document["components"]["securitySchemes"]
    checks = f"{token_info.__module__}.{token_info.__name__}"
    schemes["bearer"]["x-bearerInfoFunc"] = schemes["forwarded_token"]["x-apikeyInfoFunc"] = checks
    named = {handler.__name__: handler for handler in handlers}
    app.add_api(
        document, resolver=Resolver(lambda operation_id: named.get(operation_id, other)), strict_validation=True
    )
    asgi_app: ASGIApp = app
    return asgi_app


def _project() -> str:
    project: str = connexion.request.headers[PROJECT]
    return project


def _need_running(session: dict[str, Any]) -> None:
    if session["status"] != "running":
        raise ProblemException(422, "The session is not running")
