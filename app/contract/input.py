"""The input of an operation: parameters and bodies, from strict text to values that the document allows."""

import json
import math
import re
import sys
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.types import Receive

from app.contract.schemas import MAX_DETAILS, MAX_NAME, Validator, bound_in_words
from app.errors import BadRequest, Detail, UnsupportedMediaType
from app.models.wire import depth_exceeds
from app.server.request import RequestContext, read_body, stream_body

MAX_QUERY_FIELDS = 200
DIGITS = 19
"""Digits of an integer that are read: one with more of them is beyond every bound of the document anyway."""

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)


class Parameter:
    """One parameter of the document: a scalar in any place, or a query parameter that may be repeated.

    Values are converted to `type`, the handler's annotation; None leaves them as they are. `location` names the
    parameter in errors. All methods raise `BadRequest`.
    """

    def __init__(self, definition: dict[str, Any], type: Any = None) -> None:  # noqa: A002 - the plain word
        self.name: str = definition["name"]
        self.place: str = definition["in"]
        self.location = f"{self.place}.{self.name}"
        schema = definition["schema"]
        self._type = None if type is str else type  # texts are texts already
        self._validator = Validator(schema)
        self._required: bool = definition.get("required", False)
        self._repeatable: bool = schema["type"] == "array"
        self._is_integer: bool = (schema["items"] if self._repeatable else schema)["type"] == "integer"
        self._default = self._convert(schema["default"]) if "default" in schema else None
        self._header = self.name.lower()

    def check(self, value: Any) -> Any:
        """Return the typed value of a plain JSON value; of None, the default."""
        if value is None:
            if self._required:
                raise self._error("is required")
            return self._default
        if not self._validator.is_valid(value):
            raise self._validator.error(value, self.location)
        return self._convert(value)

    def parse(self, texts: list[str] | None) -> Any:
        """Return the typed value of the texts that were sent; of none, the default."""
        if not texts:
            return self.check(None)
        if not self._repeatable and len(texts) > 1:
            raise self._error("must be sent once")
        values = [self._parse_scalar(text) for text in texts]
        return self.check(values if self._repeatable else values[0])

    def parse_segment(self, segment: str) -> Any:
        """Return the typed value of a raw path segment."""
        if not segment.isascii() or "%" in segment:
            try:
                segment = unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._error("must be percent-encoded UTF-8") from error
        return self.check(self._parse_scalar(segment))

    def parse_header(self, context: RequestContext) -> Any:
        """Return the typed value of a request's header. An empty header reads as absent."""
        text = self.header_text(context)
        return self.check(self._parse_scalar(text) if text else None)

    def header_text(self, context: RequestContext) -> str | None:
        """Return a request's header as it was sent."""
        if self._header in context.repeated:
            raise self._error("must be sent once")
        return context.headers.get(self._header)

    def _parse_scalar(self, text: str) -> str | int:
        if not self._is_integer:
            return text
        if not _DECIMAL.fullmatch(text):
            raise self._error("must be an integer in decimal digits")
        return int(text[:DIGITS])

    def _convert(self, value: Any) -> Any:
        return value if self._type is None else msgspec.convert(value, self._type)

    def _error(self, message: str) -> BadRequest:
        return BadRequest(details=[Detail(self.location, message)])


def parse_query(query: bytes, known: set[str]) -> dict[str, list[str]]:
    """Return the fields of a query string, each with its values in order; raise `BadRequest` for unknown fields."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except UnicodeDecodeError as error:
        raise BadRequest(details=[Detail("query", "must be percent-encoded UTF-8")]) from error
    except ValueError as error:
        raise BadRequest(details=[Detail("query", f"must have at most {MAX_QUERY_FIELDS} fields")]) from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    if unknown := [Detail(f"query.{name[:MAX_NAME]}", "is not known here") for name in fields if name not in known]:
        raise BadRequest(details=unknown[:MAX_DETAILS])
    return fields


# Bodies

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
