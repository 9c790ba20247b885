"""The parts of the platform's JSON that are used here, as types. A value of another type counts as absent."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)

_PLAIN = {inspect.StrType: str, inspect.IntType: int, inspect.BoolType: bool, inspect.DictType: dict}


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """The metadata of a Kubernetes resource."""

    name: str | None = None
    creation_timestamp: str | None = None
    annotations: dict[str, Any] | None = None


class Repo(msgspec.Struct, gc=False):
    """A repository: flat, or under `input` in older versions."""

    url: str | None = None
    branch: str | None = None
    input: "Repo | None" = None


class LlmSettings(msgspec.Struct, gc=False):
    """The settings of a session's model."""

    model: str | None = None


class Spec(msgspec.Struct, rename="camel", gc=False):
    """The desired state of a session."""

    display_name: str | None = None
    initial_prompt: str | None = None
    prompt: str | None = None
    llm_settings: LlmSettings | None = None
    model: str | None = None
    repos: list[Repo] | None = None
    environment_variables: dict[str, Any] | None = None
    timeout: int | None = None


class Condition(msgspec.Struct, gc=False):
    """A Kubernetes condition of a session."""

    type: str | None = None
    reason: str | None = None
    message: str | None = None


class Status(msgspec.Struct, rename="camel", gc=False):
    """The actual state of a session."""

    phase: str | None = None
    start_time: str | None = None
    last_activity_time: str | None = None
    completion_time: str | None = None
    result: str | None = None
    error: str | None = None
    conditions: list[Condition] | None = None
    agent_status: str | None = None


class Resource(msgspec.Struct, gc=False):
    """A session; `name` is set in older versions and in the response to a create."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)
    name: str | None = None
    message: str | None = None


class RunnerType(msgspec.Struct, rename="camel", gc=False):
    """A type of runner; its models are those of its provider."""

    id: str | None = None
    display_name: str | None = None
    provider: str | None = None


class RunnerTypes(msgspec.Struct, gc=False):
    """The types of runners that a project may use, which the platform sends as an array."""

    items: list[RunnerType] | None = None


class Model(msgspec.Struct, gc=False):
    """A language model."""

    id: str | None = None
    label: str | None = None
    provider: str | None = None


class Models(msgspec.Struct, gc=False):
    """The models that a project may use."""

    models: list[Model] | None = None


class PodEvent(msgspec.Struct, gc=False):
    """An event of a session's pod, which happened `count` times, the last time at `timestamp`."""

    type: str | None = None
    reason: str | None = None
    message: str | None = None
    timestamp: str | None = None
    count: int | None = None


class PodEvents(msgspec.Struct, gc=False):
    """The events of a session's pod, oldest first."""

    events: list[PodEvent] | None = None


class File(msgspec.Struct, rename="camel", gc=False):
    """An entry of a directory of a session's workspace; `path` begins with a slash, which is the workspace."""

    name: str | None = None
    path: str | None = None
    is_dir: bool | None = None
    size: int | None = None
    modified_at: str | None = None


class Files(msgspec.Struct, gc=False):
    """The entries of a directory."""

    items: list[File] | None = None


class Page(msgspec.Struct, rename="camel", gc=False):
    """A page of the list of sessions, each of them undecoded."""

    items: list[msgspec.Raw] | None = None
    next_offset: int | None = None
    total_count: int | None = None
    has_more: bool | None = None


def reader(struct: type[T]) -> Callable[[bytes], T | None]:
    """Return a function that decodes a JSON object as `struct`, and any other JSON as None.

    It raises msgspec's errors, and `UnicodeDecodeError` for bytes that are not UTF-8 even in members that are skipped.
    JSON of other types than expected is decoded a second time, member by member, which is slower.
    """
    decode = msgspec.json.Decoder(struct).decode
    kind = inspect.type_info(struct)

    def read(body: bytes) -> T | None:
        if not body.isascii():
            body.decode()
        try:
            return decode(body)
        except msgspec.ValidationError:
            value: T | None = _convert(kind, msgspec.json.decode(body))
            return value

    return read


def _convert(kind: inspect.Type, value: Any) -> Any:
    """Return the parts of a decoded JSON value that are of this kind; None if it is of another kind as a whole."""
    if isinstance(kind, inspect.UnionType):
        kind = kind.types[0]  # the second one is None
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        parts = {field.name: _convert(field.type, value.get(field.encode_name)) for field in kind.fields}
        return kind.cls(**{name: part for name, part in parts.items() if part is not None})
    if isinstance(kind, inspect.ListType) and isinstance(value, list):
        return [part for item in value if (part := _convert(kind.item_type, item)) is not None]
    if isinstance(kind, inspect.RawType):
        return msgspec.Raw(msgspec.json.encode(value))
    return value if type(value) is _PLAIN.get(type(kind)) else None
