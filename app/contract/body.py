"""The body of an operation: strict JSON that is validated against the document, or raw bytes."""

import json
import math
import sys
from functools import lru_cache
from typing import Any

from starlette.types import Receive

from app.contract.schemas import Validator, bound_in_words
from app.errors import BadRequest, Detail, UnsupportedMediaType
from app.models.wire import depth_exceeds
from app.server.body import read_body, stream_body
from app.server.context import RequestContext

MAX_DEPTH = 64
MAX_ITEMS = 10_000
"""Of an array whose items the document describes without a `maxItems` of its own."""
MAX_MEMBERS = 1_000
"""Of an object whose members the document describes without a `maxProperties` of its own."""

_PROBLEMS = {
    RecursionError: f"must be at most {MAX_DEPTH} levels deep",
    UnicodeDecodeError: "must be JSON in UTF-8",
    UnicodeEncodeError: "must not hold half a surrogate pair",
    json.JSONDecodeError: "must be valid JSON",
    ValueError: f"must hold integers of at most {sys.int_info.default_max_str_digits} digits",
}
"""How the errors that decoding JSON raises are explained to a client."""


class JsonBody:
    """A body in JSON, as the document describes it."""

    def __init__(self, definition: dict[str, Any]) -> None:
        self._schema = definition["content"]["application/json"]["schema"]
        self._required: bool = definition.get("required", False)
        self._validator = Validator(self._schema)

    async def read(self, context: RequestContext, receive: Receive, limit: int) -> Any:
        """Return the body of a request as it was sent.

        Raises as `read_body`, and `UnsupportedMediaType` unless it is sent as JSON in UTF-8; without a type it is.
        """
        content = await read_body(context, receive, limit=limit)
        if content:
            check_media_type(context)
        return content

    def parse(self, content: Any) -> Any:
        """Return the valid value of a body as it was sent. Raises `BadRequest`."""
        return self._validate(parse_json(content)) if content else self.check(None)

    def check(self, value: Any) -> Any:
        """Return the valid value of a decoded body; None is a body that was not sent. Raises `BadRequest`."""
        if value is not None:
            return self._validate(value)
        if self._required:
            raise _error("is required")
        return None

    def _validate(self, value: Any) -> Any:
        """Return a value without members that read as absent, and with the current names of all others."""
        value = _normalize(value, self._schema, "body")
        if not self._validator.is_valid(value):
            raise self._validator.error(value, "body")
        return value


class RawBody:
    """A body in any media type, which the handler reads as it arrives: an `AsyncIterable[bytes]`."""

    async def read(self, context: RequestContext, receive: Receive, limit: int) -> Any:
        """Return the chunks of a request's body.

        Raises as `stream_body`, and `UnsupportedMediaType` if the body has a coding.
        """
        chunks = stream_body(context, receive, limit=limit)
        check_coding(context)
        return chunks

    def parse(self, content: Any) -> Any:
        """Return the chunks as they are."""
        return content

    def check(self, value: Any) -> Any:
        """Return the chunks as they are."""
        return value


def check_media_type(context: RequestContext) -> None:
    """Raise `UnsupportedMediaType` unless the body is JSON in UTF-8 without a coding."""
    check_coding(context)
    if context.repeated:
        context.reject_repeated("Content-Type")
    if not _is_json(context.headers.get("content-type") or "application/json"):
        raise UnsupportedMediaType


def check_coding(context: RequestContext) -> None:
    """Raise `UnsupportedMediaType` if the body has a coding, such as gzip."""
    if context.repeated:
        context.reject_repeated("Content-Encoding")
    if context.headers.get("content-encoding") not in {None, "", "identity"}:
        raise UnsupportedMediaType("The request body must be sent without Content-Encoding.")


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return media_type.strip().lower() == "application/json" and charset in {"", "charset=utf-8"}


# Decoding


def parse_json(content: bytes) -> Any:
    """Return one JSON value in UTF-8. Raise `BadRequest` that says which rule it breaks.

    Not allowed are NaN and infinities, lone surrogates, a name twice in one object, and more than MAX_DEPTH levels.
    """
    try:
        value = _decoder.decode(content.decode("utf-8"))
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except (RecursionError, ValueError) as error:
        raise _error(_PROBLEMS[type(error)]) from error
    if content.count(b"{") + content.count(b"[") > MAX_DEPTH and depth_exceeds(value, MAX_DEPTH):
        raise _error(_PROBLEMS[RecursionError])
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _error("must hold finite numbers only, within the range of a double")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _error("must not hold an object with a name twice")
    return members


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)


# Leniencies that the document does not show: absent members, and other names of a member


def _normalize(value: Any, schema: dict[str, Any], location: str) -> Any:
    """Rename the members that the document knows by another name (`x-aliases`), and drop members that read as absent.

    That is a known member that is null, or an optional string that is empty. Sizes are checked first of all, since
    everything that follows takes time and memory for each item and member.
    """
    if isinstance(value, list) and "items" in schema:
        _check_size(value, "maxItems", schema.get("maxItems", MAX_ITEMS), location)
        return [_normalize(item, schema["items"], f"{location}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties")
    _check_size(value, "maxProperties", schema.get("maxProperties", None if known is None else MAX_MEMBERS), location)
    if known is None:
        return value
    required, aliases = schema.get("required", ()), schema.get("x-aliases", {})
    present: dict[str, Any] = {}
    for given, item in value.items():
        name = aliases.get(given, given)
        if name in known and (item is None or (item == "" and _is_optional_string(name, known, required))):
            continue
        if name in present:
            raise _error("must be given under one name only", f"{location}.{name}")
        present[name] = _normalize(item, known.get(name, {}), f"{location}.{name}")
    return present


def _check_size(value: list[Any] | dict[str, Any], keyword: str, limit: int | None, location: str) -> None:
    if limit is not None and len(value) > limit:
        raise _error(bound_in_words(keyword, limit), location)


def _is_optional_string(name: str, known: dict[str, Any], required: list[str]) -> bool:
    return name not in required and known[name].get("type") == "string"


def _error(message: str, location: str = "body") -> BadRequest:
    return BadRequest(details=[Detail(location, message)])
