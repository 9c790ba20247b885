"""Parameters of an operation: strict text, or a plain JSON value, to a typed value."""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from app.contract.schemas import MAX_DETAILS, MAX_NAME, Validator
from app.errors import BadRequest, Detail
from app.server.context import RequestContext

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
        self._type = type
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
        try:
            return self.parse([unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")])
        except UnicodeDecodeError as error:
            raise self._error("must be percent-encoded UTF-8") from error

    def parse_header(self, context: RequestContext) -> Any:
        """Return the typed value of a request's header. An empty header reads as absent."""
        text = self.header_text(context)
        return self.parse([text] if text else None)

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
