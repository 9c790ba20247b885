"""What the platform says of sessions, as far as anybody here asks for it; a value of another type reads as absent."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)

_PLAIN = {inspect.StrType: str, inspect.IntType: int, inspect.BoolType: bool, inspect.DictType: dict}


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """Kubernetes' part of a resource."""

    name: str | None = None
    creation_timestamp: str | None = None
    annotations: dict[str, Any] | None = None


class Repo(msgspec.Struct, gc=False):
    """A repository, flat or, as older versions have it, under `input`."""

    url: str | None = None
    branch: str | None = None
    input: "Repo | None" = None


class LlmSettings(msgspec.Struct, gc=False):
    """How a session's model is asked."""

    model: str | None = None


class Spec(msgspec.Struct, rename="camel", gc=False):
    """What was asked for."""

    display_name: str | None = None
    initial_prompt: str | None = None
    prompt: str | None = None
    llm_settings: LlmSettings | None = None
    model: str | None = None
    repos: list[Repo] | None = None
    timeout: int | None = None


class Condition(msgspec.Struct, gc=False):
    """One thing that holds of a session, or does not."""

    type: str | None = None
    reason: str | None = None
    message: str | None = None


class Status(msgspec.Struct, rename="camel", gc=False):
    """What became of it."""

    phase: str | None = None
    completion_time: str | None = None
    result: str | None = None
    error: str | None = None
    conditions: list[Condition] | None = None


class Resource(msgspec.Struct, gc=False):
    """A session; `name` is its name in older shapes and in the answer to a create."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)
    name: str | None = None
    message: str | None = None


class Page(msgspec.Struct, rename="camel", gc=False):
    """A part of the list of sessions, each as it is written."""

    items: list[msgspec.Raw] | None = None
    next_offset: int | None = None
    total_count: int | None = None
    has_more: bool | None = None


def reader(struct: type[T]) -> Callable[[bytes], T | None]:
    """A function that reads a JSON object as `struct`, and gives None for any other JSON; raises msgspec's errors.

    All is decoded at once. What has another type somewhere is read a second time, part by part. Bytes that are not
    UTF-8 are an error wherever they stand, which the decoder would not see in what it skips.
    """
    decode = msgspec.json.Decoder(struct).decode
    kind = inspect.type_info(struct)

    def read(body: bytes) -> T | None:
        if not body.isascii():
            body.decode()
        try:
            return decode(body)
        except msgspec.ValidationError:
            fitted: T | None = _fitted(kind, msgspec.json.decode(body))
            return fitted

    return read


def _fitted(kind: inspect.Type, value: Any) -> Any:
    """`value` as far as it is of this kind, else None."""
    if isinstance(kind, inspect.UnionType):
        kind = kind.types[0]  # the other one is None
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        parts = {field.name: _fitted(field.type, value.get(field.encode_name)) for field in kind.fields}
        return kind.cls(**{name: part for name, part in parts.items() if part is not None})
    if isinstance(kind, inspect.ListType) and isinstance(value, list):
        return [part for item in value if (part := _fitted(kind.item_type, item)) is not None]
    if isinstance(kind, inspect.RawType):
        return msgspec.Raw(msgspec.json.encode(value))
    return value if type(value) is _PLAIN.get(type(kind)) else None
