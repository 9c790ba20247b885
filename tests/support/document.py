"""The OpenAPI document as tests need it: with closed answers, or without references."""

from typing import Any


def closed(node: Any) -> Any:
    """Return a copy of the document whose objects have no members but those that are named.

    Answers are open in the published document, so that clients read on when a later version adds a field. An object
    that says itself what else it may have stays as it is.
    """
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        copy.setdefault("additionalProperties", False)
    return copy


def inlined(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the document without references."""
    copy: dict[str, Any] = _inline(document, document)
    return copy


def _inline(node: Any, document: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(ref := node.get("$ref"), str):
        found: Any = document
        for step in ref.removeprefix("#/").split("/"):
            found = found[step]
        return _inline(found, document)
    return {key: _inline(value, document) for key, value in node.items()}
