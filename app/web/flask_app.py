"""The Flask app: the console, the OpenAPI document, manual and reference. No page loads a file from another site."""

import functools
import mimetypes
from pathlib import Path
from typing import Any

from flask import Flask, Response, render_template, request

from app import spec
from app.web import reference

_STATIC = Path(__file__).parent / "static"
_BASE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
# Scalar creates style elements and attributes, and has images in them.
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


def create_flask_app(document: dict[str, Any]) -> Flask:
    """Return the app for one OpenAPI document. Files are read here, once; what is made of them at its first request."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # the server responds to errors, in the form of the API
    title = document["info"]["title"]
    assets = {path.name: path.read_bytes() for path in (_STATIC / "reference").iterdir()}
    assets |= {name: (_STATIC / "console" / name).read_bytes() for name in ("icon.svg", "key.js")}
    names = ", ".join(f'"{name}"' for name in assets)
    _add_console(app, title)

    @functools.cache
    def text(kind: str) -> bytes:
        return spec.as_json(document) if kind == "json" else spec.as_yaml(document).encode()

    @functools.cache
    def page() -> bytes:
        return render_template("reference.html", title=title, chapters=reference.chapters()).encode()

    @functools.cache
    def rendered() -> bytes:
        return spec.as_json(reference.rendered(document))

    @app.get("/v1/openapi.<any(json, yaml):kind>")
    def openapi(kind: str) -> Response:
        return _file(text(kind), f"application/{kind}", max_age=0)

    @app.get("/v1/docs")
    def docs() -> Response:
        return _file(page(), "text/html", max_age=0)

    @app.get("/v1/docs/assets/reference.json")
    def reference_json() -> Response:
        return _file(rendered(), "application/json", max_age=0)

    @app.get(f"/v1/docs/assets/<any({names}):name>")
    def asset(name: str) -> Response:
        return _file(assets[name], mimetypes.guess_type(name)[0] or "text/plain", max_age=0)

    return app


def _add_console(app: Flask, title: str) -> None:
    """Add the console at `/`, and its files below `/static/`."""

    @app.get("/")
    def console() -> Response:
        page = render_template("console.html", title=title)
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
