"""Messages and tool calls of snapshots and run inputs, in every shape in which agents write them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec

from app.agui.lenient import Json, Lenient, plain, reader

_ABSENT = msgspec.Raw()

CallStatus = Literal["pending", "running", "completed", "error"]


class StoredCall(msgspec.Struct, gc=False):
    """A tool call: name and arguments are in `function` or beside the id; some agents add the result to the call."""

    id: str | None = None
    name: str | None = None
    function: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    args: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    encrypted_value: str | None = msgspec.field(name="encryptedValue", default=None)
    snake_encrypted_value: str | None = msgspec.field(name="encrypted_value", default=None)
    status: CallStatus | None = None
    duration: Annotated[int, msgspec.Meta(ge=0)] | None = None


class StoredMessage(msgspec.Struct, gc=False):
    """A message as an agent wrote it; the content stays JSON. `normalize_keys` merges the spellings of its keys."""

    id: str | None = None
    role: str | None = None
    name: str | None = None
    content: msgspec.Raw = _ABSENT
    tool_calls: list[msgspec.Raw] | None = msgspec.field(name="toolCalls", default=None)
    snake_tool_calls: list[msgspec.Raw] | None = msgspec.field(name="tool_calls", default=None)
    tool_call_id: str | None = msgspec.field(name="toolCallId", default=None)
    snake_tool_call_id: str | None = msgspec.field(name="tool_call_id", default=None)
    timestamp: Any = None
    error: msgspec.Raw = _ABSENT
    encrypted_value: str | None = msgspec.field(name="encryptedValue", default=None)
    snake_encrypted_value: str | None = msgspec.field(name="encrypted_value", default=None)
    is_error: bool | None = None
    camel_is_error: bool | None = msgspec.field(name="isError", default=None)


class _Carrier(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _ABSENT


class _Part(msgspec.Struct, gc=False):
    text: str | None = None


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, float) and value >= 0 else None


_call = Lenient(StoredCall, duration=plain(_integer))
_message = Lenient(StoredMessage)
_carrier = Lenient(_Carrier)
_part = Lenient(_Part)
_content: Callable[[Json], str | list[msgspec.Raw] | None] = reader(str | list[msgspec.Raw])


def snapshot_messages(raw: Json) -> list[StoredMessage]:
    """Return the messages of a MESSAGES_SNAPSHOT that are JSON objects."""
    return [*_read_messages(_raw_messages(raw))]


def reversed_messages(raw: Json) -> Iterator[StoredMessage]:
    """Yield the messages of a MESSAGES_SNAPSHOT, the last one first, each decoded when it is needed."""
    return _read_messages(reversed(_raw_messages(raw)))


def _raw_messages(raw: Json) -> list[msgspec.Raw]:
    carrier = _carrier(raw)
    return (carrier.messages or []) if carrier else []


def _read_messages(raws: Iterable[msgspec.Raw]) -> Iterator[StoredMessage]:
    return (normalize_keys(message) for raw in raws if (message := _message(raw)))


def input_messages(raw: Json) -> list[StoredMessage]:
    """Return the messages of a RUN_STARTED's input that are JSON objects."""
    carrier = _carrier(raw)
    return snapshot_messages(carrier.input) if carrier else []


def normalize_keys(message: StoredMessage) -> StoredMessage:
    """Return the message with its camelCase members filled in from those in snake_case."""
    message.tool_calls = message.tool_calls or message.snake_tool_calls
    message.tool_call_id = message.tool_call_id or message.snake_tool_call_id or None
    message.encrypted_value = message.encrypted_value or message.snake_encrypted_value
    return message


def read_call(raw: Json) -> StoredCall | None:
    """Return a tool call with the members of `function` moved to the top, or None if `raw` is not a JSON object."""
    call = _call(raw)
    if call is None:
        return None
    if function := _call(call.function):
        call.name = function.name or call.name
        call.args = function.arguments or function.args or call.args
    call.args = call.args or call.arguments
    call.encrypted_value = call.encrypted_value or call.snake_encrypted_value
    return call


def content_text(raw: Json) -> str | None:
    """Return a message's content as text: a string, or the texts of its parts joined; None for anything else."""
    content = _content(raw)
    return "".join(_part_text(part) for part in content) if isinstance(content, list) else content


def content_parts(raw: Json) -> msgspec.Raw | None:
    """Return a message's content if it is a list of parts that are not all text, such as images; None otherwise."""
    content = _content(raw)
    if not isinstance(content, list) or not any(_is_other_part(part) for part in content):
        return None
    return msgspec.Raw(raw)


def _is_other_part(raw: Json) -> bool:
    part = _part(raw)
    return part is not None and part.text is None


def _part_text(raw: Json) -> str:
    if part := _part(raw):
        return part.text or ""
    text = _content(raw)
    return text if isinstance(text, str) else ""


def json_text(raw: Json) -> str | None:
    """Return a string as it is, any other value as its own JSON text, and None if it is null or absent."""
    text = _content(raw)
    if isinstance(text, str):
        return text
    value = bytes(raw)
    return None if value in {b"", b"null"} else value.decode(errors="replace")


def failed(message: StoredMessage) -> bool:
    """Return whether a tool message reports that its call failed."""
    return bool(message.is_error or message.camel_is_error or error_text(message.error))


def error_text(raw: Json) -> str | None:
    """Return an `error` member as text, or None if it is absent, null, false or empty."""
    text = json_text(raw)
    return None if text in {None, "", "false"} else text


def last_user_text(messages: list[StoredMessage]) -> str | None:
    """Return the text of the last user message that has any."""
    for message in reversed(messages):
        if message.role == "user" and (text := content_text(message.content)):
            return text
    return None


def text_parts(message: dict[str, Any]) -> list[str]:
    """Return the texts of a message whose content is a string or a list of parts, some of which are text."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [str(part["text"]) for part in parts if isinstance(part, dict) and part.get("type") == "text"]
