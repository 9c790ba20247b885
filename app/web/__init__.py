"""The pages beside the API: the console, the OpenAPI document and its reference, served by Flask."""

from typing import Any

from a2wsgi import WSGIMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.exceptions import NotFound as NoPage
from werkzeug.routing import MapAdapter, RequestRedirect

from app.errors import MethodNotAllowed, NotFound
from app.server.request import RequestContext
from app.web.flask_app import create_flask_app


def create_app(document: dict[str, Any]) -> ASGIApp:
    """Return the pages as the ASGI app for every path that is no operation. Raises `NotFound`, `MethodNotAllowed`."""
    pages = create_flask_app(document)
    return _Pages(WSGIMiddleware(pages.wsgi_app), pages.url_map.bind(""))  # type: ignore[arg-type]  # its own ASGI types


class _Pages:
    """Passes requests for a page on to Flask. All others are errors of the API rather than of Flask."""

    def __init__(self, app: ASGIApp, routes: MapAdapter) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith("//"):  # Werkzeug would read it as one slash
            raise NotFound
        try:
            operation_id, _ = self._routes.match(scope["path"], scope["method"])
        except WrongMethod as error:
            raise MethodNotAllowed(", ".join(sorted(error.valid_methods or ()))) from error
        except (NoPage, RequestRedirect) as error:
            raise NotFound from error
        RequestContext.of(scope).operation_id = operation_id
        # The WSGI bridge and Flask fail on some malformed queries and headers, and no page needs any but this one.
        headers = [(name, value) for name, value in scope["headers"] if name == b"if-none-match"]
        await self._app({**scope, "query_string": b"", "headers": headers}, receive, send)
