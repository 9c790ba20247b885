"""The messages that snapshots and run inputs carry, in every shape that agents write them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from app.agui.lenient import Json, Lenient, plain, reader

_ABSENT = msgspec.Raw()

CallStatus = Literal["pending", "running", "completed", "error"]


class StoredCall(msgspec.Struct, gc=False):
    """A tool call: name and arguments nested in `function` or flat, where result, status and duration may follow."""

    id: str | None = None
    name: str | None = None
    function: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    args: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    status: CallStatus | None = None
    duration: Annotated[int, msgspec.Meta(ge=0)] | None = None


class StoredMessage(msgspec.Struct, gc=False):
    """A message as stored; heavy members undecoded. `normalize_keys` brings the spellings of its keys together."""

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
    is_error: bool | None = None
    camel_is_error: bool | None = msgspec.field(name="isError", default=None)


class _Carrier(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _ABSENT


class _Part(msgspec.Struct, gc=False):
    text: str | None = None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, float) and value >= 0 else None


_call = Lenient(StoredCall, duration=plain(_whole))
_message = Lenient(StoredMessage)
_carrier = Lenient(_Carrier)
_part = Lenient(_Part)
_content: Callable[[Json], str | list[msgspec.Raw] | None] = reader(str | list[msgspec.Raw])


def snapshot_messages(raw: Json) -> list[StoredMessage]:
    """The messages of a MESSAGES_SNAPSHOT that can be read."""
    carrier = _carrier(raw)
    raws = (carrier.messages or []) if carrier else []
    return [normalize_keys(message) for raw in raws if (message := _message(raw))]


def input_messages(raw: Json) -> list[StoredMessage]:
    """The messages of a RUN_STARTED's input that can be read."""
    carrier = _carrier(raw)
    return snapshot_messages(carrier.input) if carrier else []


def normalize_keys(message: StoredMessage) -> StoredMessage:
    """The message with its members in whatever spelling they are."""
    message.tool_calls = message.tool_calls or message.snake_tool_calls
    message.tool_call_id = message.tool_call_id or message.snake_tool_call_id or None
    return message


def read_call(raw: Json) -> StoredCall | None:
    """One tool call with what `function` holds lifted to the top; None if `raw` is no object."""
    call = _call(raw)
    if call is None:
        return None
    if function := _call(call.function):
        call.name = function.name or call.name
        call.args = function.arguments or function.args or call.args
    call.args = call.args or call.arguments
    return call


def content_text(raw: Json) -> str | None:
    """A message's content as text: a string, or the texts of its parts joined; None for anything else."""
    content = _content(raw)
    return "".join(_part_text(part) for part in content) if isinstance(content, list) else content


def _part_text(raw: Json) -> str:
    if part := _part(raw):
        return part.text or ""
    text = _content(raw)
    return text if isinstance(text, str) else ""


def json_text(raw: Json) -> str | None:
    """A string as it is, any other value as its own JSON text, None for null or nothing."""
    text = _content(raw)
    if isinstance(text, str):
        return text
    value = bytes(raw)
    return None if value in {b"", b"null"} else value.decode(errors="replace")


def failed(message: StoredMessage) -> bool:
    """Whether a tool message says that its call failed."""
    return bool(message.is_error or message.camel_is_error or error_text(message.error))


def error_text(raw: Json) -> str | None:
    """What an `error` member says; None where it is missing, null, false or empty."""
    text = json_text(raw)
    return None if text in {None, "", "false"} else text


def last_user_text(messages: list[StoredMessage]) -> str | None:
    """What the user said last."""
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
