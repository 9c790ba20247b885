"""OpenAPI 3.0 schemas as jsonschema-rs validators, and their errors in words that never echo a value."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs

from app.errors import BadRequest, Detail

MAX_DETAILS = 20
MAX_NAME = 100

# jsonschema-rs makes all errors of a value, each with a copy of its part of the value, before the first can be looked
# at: 4 KB and 7 µs for each. So all errors are made only for a value of at most so many items and members.
_MAX_LISTED = 1_000

_TYPES = {
    "array": "an array",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_WORDS = {
    "maxItems": "must have at most {} items",
    "maxLength": "must have at most {} characters",
    "maxProperties": "must have at most {} members",
    "maximum": "must be at most {}",
    "minItems": "must have at least {} items",
    "minLength": "must have at least {} characters",
    "minProperties": "must have at least {} members",
    "minimum": "must be at least {}",
}


class Validator:
    """A schema, compiled. `is_valid` returns whether a decoded JSON value matches it, `error` explains why not."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = draft4(schema)
        self._validator = jsonschema_rs.Draft4Validator(
            self._schema,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear time, whatever the input
        )
        self.is_valid: Callable[[Any], bool] = self._validator.is_valid

    def error(self, value: Any, location: str) -> BadRequest:
        """Return the error of a value that is not valid and stands at `location` of the request.

        It names up to MAX_DETAILS problems, and only one of a value that is large.
        """
        errors = self._first_error(value) if _is_large(value) else self._validator.iter_errors(value)
        details = itertools.chain.from_iterable(self._details(error, location) for error in errors)
        return BadRequest(details=list(itertools.islice(details, MAX_DETAILS)))

    def _first_error(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            yield error

    def _details(self, error: jsonschema_rs.ValidationError, location: str) -> Iterator[Detail]:
        where = _locate(location, error.instance_path)
        kind, value = error.kind.name, error.kind.value
        schema = self._schema_of(error)
        if kind == "pattern":
            yield Detail(where, schema.get("x-pattern-words") or f"must match {value}")
        elif kind == "required":
            yield Detail(f"{where}.{value}", "is required")
        elif kind == "additionalProperties":
            message = schema.get("x-key-words", "is not known here")
            for name in value:
                yield Detail(f"{where}.{name[:MAX_NAME]}", message)
        elif kind == "type":
            types = value if isinstance(value, list) else [value]
            yield Detail(where, "must be " + " or ".join(_TYPES[name] for name in types if name != "null"))
        elif kind == "enum":
            yield Detail(where, "must be one of " + ", ".join(map(str, value)))
        else:
            yield Detail(where, bound_in_words(kind, value))

    def _schema_of(self, error: jsonschema_rs.ValidationError) -> Any:
        """Return the schema that holds the violated keyword."""
        schema: Any = self._schema
        for step in error.schema_path[:-1]:
            schema = schema[step]
        return schema


def bound_in_words(keyword: str, bound: Any) -> str:
    """Return what a keyword with a bound, such as `maxItems`, requires."""
    words = _WORDS.get(keyword, "is not valid").format(bound)
    return words.removesuffix("s") if bound == 1 else words


def draft4(schema: Any) -> Any:
    """Return the JSON Schema (draft 4) of an OpenAPI 3.0 schema whose references are resolved.

    `nullable` becomes one of two types. `x-key-pattern` limits the names of a map, for which OpenAPI 3.0 has no
    keyword; `x-key-words` explains it to a client.
    """
    if isinstance(schema, list):
        return [draft4(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {
        key: {name: draft4(child) for name, child in value.items()} if key == "properties" else draft4(value)
        for key, value in schema.items()
        if key not in {"nullable", "example", "default", "enum"}
    }
    if "enum" in schema:
        converted["enum"] = schema["enum"]
    if pattern := converted.pop("x-key-pattern", None):
        converted["patternProperties"] = {pattern: converted["additionalProperties"]}
        converted["additionalProperties"] = False
    if schema.get("nullable"):
        converted["type"] = [schema["type"], "null"]
    return converted


def _is_large(value: Any) -> bool:
    """Return whether a value has more than _MAX_LISTED items and members."""
    count, pending = 0, [value]
    while pending and count <= _MAX_LISTED:
        node = pending.pop()
        if isinstance(node, dict | list):
            count += len(node)
            pending.extend(node.values() if isinstance(node, dict) else node)
    return count > _MAX_LISTED


def _locate(location: str, path: list[str | int]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:MAX_NAME]}" for step in path)
    return location + "".join(steps)
