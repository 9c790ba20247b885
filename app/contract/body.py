"""The body of a request: strict JSON, validated against the document."""

import json
import math
import sys
from functools import lru_cache
from typing import Any

from app.contract.schemas import Validator
from app.errors import BadRequest, Detail, UnsupportedMediaType
from app.models.wire import depth_exceeds
from app.server.context import Request

MAX_DEPTH = 64

_REFUSALS = {
    RecursionError: f"must be at most {MAX_DEPTH} levels deep",
    UnicodeDecodeError: "must be JSON in UTF-8",
    UnicodeEncodeError: "must not hold half a surrogate pair",
    json.JSONDecodeError: "must be valid JSON",
    ValueError: f"must hold integers of at most {sys.int_info.default_max_str_digits} digits",
}
"""What the errors of reading JSON mean to a client."""


class Body:
    """The JSON body of one operation, as the document describes it."""

    def __init__(self, definition: dict[str, Any]) -> None:
        schema = definition["content"]["application/json"]["schema"]
        self.required: bool = definition.get("required", False)
        self._schema = schema
        self._validator = Validator(schema)

    def value(self, content: bytes) -> Any:
        """The validated value under its present names; raises `BadRequest`."""
        if not content:
            if self.required:
                raise _wrong("is required")
            return None
        value = _drop_nulls(parse_json(content), self._schema, "body")
        self._validator.check(value, "body")
        return _resolve_aliases(value, self._schema)


def check_media_type(request: Request) -> None:
    """Raise `UnsupportedMediaType` for anything but UTF-8 JSON as it is; no Content-Type reads as JSON."""
    if request.header("Content-Encoding") not in {None, "", "identity"}:
        raise UnsupportedMediaType("The request body must come without Content-Encoding.")
    if not _is_json(request.header("Content-Type") or "application/json"):
        raise UnsupportedMediaType


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return kind.strip().lower() == "application/json" and charset in {"", "charset=utf-8"}


def parse_json(content: bytes) -> Any:
    """One JSON value in UTF-8: no NaN or infinity, no lone surrogate, no name twice, at most 64 levels deep.

    Raises `BadRequest` that says which of it does not hold.
    """
    try:
        value = _decoder.decode(content.decode("utf-8"))
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except (RecursionError, ValueError) as error:
        raise _wrong(_REFUSALS[type(error)]) from error
    if content.count(b"{") + content.count(b"[") > MAX_DEPTH and depth_exceeds(value, MAX_DEPTH):
        raise _wrong(_REFUSALS[RecursionError])
    return value


def _wrong(message: str) -> BadRequest:
    return BadRequest(details=[Detail("body", message)])


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _wrong("must hold finite numbers only, within the range of a double")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _wrong("must not hold an object with a name twice")
    return members


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)


def _drop_nulls(value: Any, schema: dict[str, Any], location: str) -> Any:
    """Drop what reads as absent: a known member that is null, or an optional string that is empty."""
    if isinstance(value, list) and "items" in schema:
        return [_drop_nulls(item, schema["items"], f"{location}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    known, required = schema["properties"], schema.get("required", ())
    present = {
        name: _drop_nulls(item, known.get(name, {}), f"{location}.{name}")
        for name, item in value.items()
        if not (name in known and (item is None or (item == "" and _optional_string(name, known, required))))
    }
    for name in present:
        if _present_name(name, schema) != name and _present_name(name, schema) in present:
            message = f"is the deprecated name of {_present_name(name, schema)}: send one of them"
            raise BadRequest(details=[Detail(f"{location}.{name}", message)])
    return present


def _optional_string(name: str, known: dict[str, Any], required: list[str]) -> bool:
    return name not in required and known[name].get("type") == "string"


def _resolve_aliases(value: Any, schema: dict[str, Any]) -> Any:
    """Rename the members that the document marks as deprecated with `x-alias-of`."""
    if isinstance(value, list) and "items" in schema:
        return [_resolve_aliases(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    known = schema["properties"]
    return {_present_name(name, schema): _resolve_aliases(item, known.get(name, {})) for name, item in value.items()}


def _present_name(name: str, schema: dict[str, Any]) -> str:
    present: str = schema["properties"].get(name, {}).get("x-alias-of", name)
    return present
