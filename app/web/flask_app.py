"""The Flask app: the console, the OpenAPI document and its reference. No page loads a file from another site."""

import functools
import mimetypes
from pathlib import Path
from typing import Any

from flask import Flask, Response, render_template, request
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]  # ships no types

from app import spec
from app.models.sessions import Activity, SessionStatus
from app.web.manual import chapters

_STATIC = Path(__file__).parent / "static"
_SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_BASE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
# Swagger UI sets style attributes and has images in its style sheet.
_DOCS_POLICY = f"{_BASE_POLICY}style-src 'self' 'unsafe-inline'; img-src 'self' data:"
# In the console only its sanitizer creates HTML.
_CONSOLE_POLICY = (
    f"{_BASE_POLICY}style-src 'self'; img-src 'self'; require-trusted-types-for 'script'; trusted-types dompurify"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

ACTIVITIES = [Activity.WAITING, Activity.WORKING, Activity.IDLE]
"""The activities by which the console can filter running sessions."""


def create_flask_app(document: dict[str, Any]) -> Flask:
    """Return the app for one OpenAPI document. Every file is read here, once."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # the server responds to errors, in the form of the API
    title = document["info"]["title"]
    texts = {"json": spec.as_json(document), "yaml": spec.as_yaml(document).encode()}
    assets = {name: (swagger_ui_path / name).read_bytes() for name in _SWAGGER_FILES}
    assets |= {name: (_STATIC / name).read_bytes() for name in ("docs.js", "docs.css")}
    names = ", ".join(f'"{name}"' for name in assets)
    _add_console(app, title)

    with app.app_context():
        page = render_template("docs.html", title=title, chapters=chapters()).encode()

    @app.get("/v1/openapi.<any(json, yaml):kind>")
    def openapi(kind: str) -> Response:
        return _file(texts[kind], f"application/{kind}", max_age=0)

    @app.get("/v1/docs")
    def docs() -> Response:
        return _file(page, "text/html", max_age=0)

    @app.get(f"/v1/docs/assets/<any({names}):name>")
    def asset(name: str) -> Response:
        return _file(assets[name], mimetypes.guess_type(name)[0] or "application/octet-stream", max_age=3600)

    return app


def _add_console(app: Flask, title: str) -> None:
    """Add the console at `/`, and its files below `/static/`."""

    @app.get("/")
    def console() -> Response:
        page = render_template("console.html", title=title, activities=ACTIVITIES, statuses=list(SessionStatus))
        return _file(page.encode(), "text/html", max_age=0, policy=_CONSOLE_POLICY)

    for part in ("console", "vendor"):
        files = {path.name: path.read_bytes() for path in (_STATIC / part).iterdir()}
        names = ", ".join(f'"{name}"' for name in files)
        view = functools.partial(_console_file, files)
        app.add_url_rule(f"/static/{part}/<any({names}):name>", endpoint=f"console_{part}", view_func=view)


def _console_file(files: dict[str, bytes], name: str) -> Response:
    # The modules of two versions do not work together, so the browser revalidates each time.
    return _file(files[name], mimetypes.guess_type(name)[0] or "text/plain", max_age=0)


def _file(content: bytes, media_type: str, *, max_age: int, policy: str = _DOCS_POLICY) -> Response:
    """Return the content with the headers of every page, or 304 if the client has it already."""
    response = Response(content, mimetype=media_type, headers={**_HEADERS, "Content-Security-Policy": policy})
    response.cache_control.public = True
    response.cache_control.max_age = max_age
    response.add_etag(weak=True)  # compression changes the bytes
    response.make_conditional(request)
    del response.headers["Date"]  # the HTTP server sends it
    return response
