"""The OpenAPI document, with which responses are compared."""

import json
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import requests

from app.contract.schemas import draft4

METHODS = ("get", "put", "post", "delete", "patch")

_JSON = "application/json"
_TEXT = "text/plain"
_EVENT = {"$ref": "#/components/schemas/AguiEvent"}


class Violation(Exception):
    """The server broke a rule; the message says how."""


def require(condition: object, message: str) -> None:
    """Raise `Violation` with this message unless the condition holds."""
    if not condition:
        raise Violation(message)


class Contract:
    """A published document. Its checks raise `Violation` for what it does not describe."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.base: str = document["servers"][0]["url"]
        """The path under which all operations are."""
        self.operations: dict[str, tuple[str, str, dict[str, Any]]] = {
            item[method]["operationId"]: (method.upper(), path, item[method])
            for path, item in document["paths"].items()
            for method in METHODS
            if method in item
        }
        """The method, the path below `base` and the description of each operation, by its id."""
        self._components = draft4(document["components"])
        self._validators: dict[str, jsonschema_rs.Draft4Validator] = {}

    def request(self, operation_id: str, *path: str) -> tuple[str, str]:
        """Return the method of an operation, and its path below `base` with the parameters in their order."""
        method, template, _ = self.operations[operation_id]
        values = iter(path)
        steps = (quote(next(values), safe="") if step.startswith("{") else step for step in template.split("/"))
        return method, "/".join(steps)

    def described(self, operation_id: str, status: int) -> dict[str, Any]:
        """Return what the document says of an operation's responses with a status."""
        responses = self.operations[operation_id][2]["responses"]
        if str(status) in responses:
            return self.resolved(responses[str(status)])
        is_error = status >= requests.codes.bad_request
        require("default" in responses and is_error, f"{operation_id} responded with {status}: undocumented")
        return self.resolved(responses["default"])

    def check_response(self, operation_id: str, response: requests.Response, *, bodiless: bool = False) -> None:
        """Compare status, headers, media type and body; `bodiless` is for a response to HEAD.

        A body in JSON or plain text is read for it, no other.
        """
        where = f"{operation_id} responded with {response.status_code}"
        described = self.described(operation_id, response.status_code)
        for name, header in described.get("headers", {}).items():
            self._check_header(where, name, self.resolved(header), response)
        self._check_caching(where, response)
        content = {} if bodiless else described.get("content", {})
        media_type = response.headers.get("Content-Type", "").partition(";")[0]
        if not content:
            require(not response.content, f"{where} with a body")
            return
        require(media_type in content, f"{where} and the type {media_type!r}")
        if media_type in {_JSON, _TEXT}:
            body: Any = _parsed(where, response) if media_type == _JSON else response.text
            self.validate(where, content[media_type]["schema"], body)
            if response.status_code >= requests.codes.bad_request:
                same = body["request_id"] == response.headers["X-Request-ID"]
                require(same, f"{where}: request_id is not the one of X-Request-ID")

    def check_event(self, event: Any) -> None:
        """Compare the data of a stream's frame."""
        self.validate("a frame", _EVENT, event)

    def validate(self, where: str, schema: dict[str, Any], value: Any) -> None:
        """Compare a decoded value with one of the document's schemas; `where` begins the message."""
        name = json.dumps(schema)
        if name not in self._validators:
            rooted = {"allOf": [draft4(schema)], "components": self._components}
            self._validators[name] = jsonschema_rs.Draft4Validator(rooted, ignore_unknown_formats=True)
        try:
            self._validators[name].validate(value)
        except jsonschema_rs.ValidationError as error:
            place = ".".join(map(str, error.instance_path)) or "the value"
            raise Violation(f"{where}: {place} is not as the document says: {error.message[:300]}") from None

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return a part of the document, or what it refers to."""
        found: Any = node
        while "$ref" in found:
            steps = found["$ref"].removeprefix("#/").split("/")
            found = self.document
            for step in steps:
                found = found[step]
        return dict(found)

    def _check_header(self, where: str, name: str, header: dict[str, Any], response: requests.Response) -> None:
        if name not in response.headers:
            require(not header.get("required"), f"{where}: the header {name} is missing")
            return
        text = response.headers[name]
        is_number = self.resolved(header["schema"])["type"] == "integer" and text.isdecimal()
        self.validate(f"{where}: the header {name}", header["schema"], int(text) if is_number else text)

    def _check_caching(self, where: str, response: requests.Response) -> None:
        sniffing = response.headers.get("X-Content-Type-Options")
        require(sniffing == "nosniff", f"{where}: X-Content-Type-Options is {sniffing!r}, not 'nosniff'")
        if response.headers.get("Content-Type", "").startswith("text/event-stream"):
            return  # the document names its header
        caching = response.headers.get("Cache-Control", "")
        may_be_stored = "ETag" in response.headers and response.request.method in {"GET", "HEAD"}
        right = "private, no-cache" if may_be_stored else "no-store"
        require(caching == right, f"{where}: Cache-Control is {caching!r}, not {right!r}")


def _parsed(where: str, response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise Violation(f"{where} with a body that is no JSON") from None
