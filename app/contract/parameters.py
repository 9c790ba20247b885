"""Parameters of an operation: strict text to typed values."""

import re
from typing import Any
from urllib.parse import parse_qsl

from app.contract.schemas import MAX_NAME, Validator
from app.errors import BadRequest, Detail

MAX_QUERY_FIELDS = 200
DIGITS = 19  # of a longer integer these tell already that it is beyond every bound of the document

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)


class Parameter:
    """One parameter of the document: a scalar in any place, or a repeatable query parameter."""

    def __init__(self, definition: dict[str, Any]) -> None:
        self.name: str = definition["name"]
        self.place: str = definition["in"]
        schema = definition["schema"]
        self.location = f"{self.place}.{self.name}"
        self.required: bool = definition.get("required", False)
        self.default = schema.get("default")
        self.repeatable: bool = schema["type"] == "array"
        self._numeric: bool = (schema["items"] if self.repeatable else schema)["type"] == "integer"
        self._validator = Validator(schema)

    def value(self, texts: list[str] | None) -> Any:
        """The typed value of what was sent, the default without it; raises `BadRequest`."""
        if not texts:
            if self.required:
                raise self._wrong("is required")
            return self.default
        if not self.repeatable and len(texts) > 1:
            raise self._wrong("must be sent once")
        values = [self._typed(text) for text in texts]
        value = values if self.repeatable else values[0]
        self._validator.check(value, self.location)
        return value

    def _typed(self, text: str) -> str | int:
        if not self._numeric:
            return text
        if not _DECIMAL.fullmatch(text):
            raise self._wrong("must be an integer in decimal digits")
        return int(text[:DIGITS])

    def _wrong(self, message: str) -> BadRequest:
        return BadRequest(details=[Detail(self.location, message)])


def parse_query(query: bytes, known: set[str]) -> dict[str, list[str]]:
    """The fields of a query string, every value in order; an unknown one is a `BadRequest` that names it."""
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
        raise BadRequest(details=unknown[:20])
    return fields
