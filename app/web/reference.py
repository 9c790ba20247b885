"""The manual and reference at `/v1/docs`: what its page and its renderer show."""

import re
from typing import Any

import msgspec
from markdown_it import MarkdownIt

from app import spec

_METHODS = ("get", "put", "post", "patch", "delete")
_PLAIN_KEY = re.compile(r'^( *)"([A-Za-z_]\w*)":', re.MULTILINE)
_FILE = "new Blob([])"
"""In TypeScript, a body that is not JSON."""


class Chapter(msgspec.Struct, frozen=True):
    """A chapter of the manual. `html` has no title; `name` is the fragment of its address."""

    name: str
    title: str
    html: str


def chapters() -> list[Chapter]:
    """Return the chapters in their order. HTML in their texts is escaped."""
    markdown = MarkdownIt("js-default")
    found = []
    for name, text in spec.manual().items():
        heading, _, body = text.partition("\n")
        found.append(Chapter(name, heading.removeprefix("# "), markdown.render(body)))
    return found


def rendered(document: dict[str, Any]) -> dict[str, Any]:
    """Return the published document as the renderer gets it.

    Its description is the manual, its operations have samples in TypeScript, and who tries an operation does not send
    the examples of optional parameters unless they choose to.
    """
    copy: dict[str, Any] = _with_optional_examples_off(document, document)
    copy["info"]["description"] = "\n".join(spec.manual().values())
    copy.pop("externalDocs", None)  # they are the manual
    for path in copy["paths"].values():
        for operation in (path[method] for method in _METHODS if method in path):
            parameters = [
                _resolve(found, copy) for found in [*path.get("parameters", []), *operation.get("parameters", [])]
            ]
            sample = {"lang": "TypeScript", "label": "TypeScript", "source": _typescript(operation, parameters)}
            operation["x-codeSamples"] = [sample]
    return copy


def _with_optional_examples_off(node: Any, document: dict[str, Any]) -> Any:
    match node:
        case {"in": str(), "name": str(), "example": example, "schema": schema} if not node.get("required"):
            others = {key: value for key, value in node.items() if key != "example"}
            others["schema"] = {key: value for key, value in _resolve(schema, document).items() if key != "example"}
            return {**others, "examples": {"example": {"value": example, "x-disabled": True}}}
        case dict():
            return {key: _with_optional_examples_off(value, document) for key, value in node.items()}
        case list():
            return [_with_optional_examples_off(item, document) for item in node]
    return node


def _typescript(operation: dict[str, Any], parameters: list[dict[str, Any]]) -> str:
    """Return a call of the client of `clients/typescript` with the operation's first example."""
    name = re.sub("_([a-z])", lambda found: found[1].upper(), operation["operationId"])
    options: dict[str, Any] = {}
    for place in ("path", "query"):
        if given := {
            found["name"]: found["example"] for found in parameters if found["in"] == place and "example" in found
        }:
            options[place] = given
    content = operation.get("requestBody", {}).get("content", {})
    if examples := content.get("application/json", {}).get("examples"):
        options["body"] = next(iter(examples.values()))["value"]
    elif content:
        options["body"] = _FILE
    argument = msgspec.json.format(msgspec.json.encode(options), indent=2).decode() if options else ""
    argument = _PLAIN_KEY.sub(r"\1\2:", argument).replace(f'"{_FILE}"', _FILE)
    streams = any("text/event-stream" in found.get("content", {}) for found in operation["responses"].values())
    result = "stream" if streams else "data, error"
    return f'import {{ {name} }} from "./ambient";\n\nconst {{ {result} }} = await {name}({argument});'


def _resolve(node: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = document["components"][kind][name]
    return node
