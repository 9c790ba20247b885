"""The Flask app: the OpenAPI document as JSON and YAML, and its reference by Swagger UI, nothing from elsewhere."""

import mimetypes
from typing import Any

from flask import Flask, Response, render_template, request
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]  # ships no types

from app import spec

_SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_HEADERS = {
    # Swagger UI sets style attributes and has images in its style sheet; scripts come from here only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create_flask_app(document: dict[str, Any]) -> Flask:
    """The app for one OpenAPI document; every file is read here, once."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # the API answers errors, in its own form
    title = document["info"]["title"]
    texts = {"json": spec.as_json(document), "yaml": spec.as_yaml(document).encode()}
    assets = {name: (swagger_ui_path / name).read_bytes() for name in _SWAGGER_FILES}
    with app.open_resource("static/docs.js") as script, app.open_resource("static/docs.css") as style:
        assets |= {"docs.js": script.read(), "docs.css": style.read()}
    names = ", ".join(f'"{name}"' for name in assets)

    @app.get("/v1/openapi.<any(json, yaml):kind>")
    def openapi(kind: str) -> Response:
        return _file(texts[kind], f"application/{kind}", max_age=0)

    @app.get("/v1/docs")
    def docs() -> Response:
        return _file(render_template("docs.html", title=title).encode(), "text/html", max_age=0)

    @app.get(f"/v1/docs/assets/<any({names}):name>")
    def asset(name: str) -> Response:
        return _file(assets[name], mimetypes.guess_type(name)[0] or "application/octet-stream", max_age=3600)

    return app


def _file(content: bytes, media_type: str, *, max_age: int) -> Response:
    """An answer with the headers of every page, or 304 where the client has it already."""
    response = Response(content, mimetype=media_type, headers=_HEADERS)
    response.cache_control.public = True
    response.cache_control.max_age = max_age
    response.add_etag()
    response.make_conditional(request)
    del response.headers["Date"]  # the HTTP server sends it
    return response
