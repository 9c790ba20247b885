"""Events with all that a conversation is made of, decoded at once."""

import msgspec

from app.agui.decode import Event, Reading
from app.agui.lenient import Json
from app.agui.messages import StoredMessage, snapshot_messages

_ABSENT = msgspec.Raw()


class Detail(Event):
    """One AG-UI event, and what it says: heavy members as they are written."""

    content: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    camel_is_error: bool | None = msgspec.field(name="isError", default=None)
    is_error: bool | None = None
    messages: list[StoredMessage] | None = None
    name: str | None = None
    parent_message_id: str | None = msgspec.field(name="parentMessageId", default=None)
    snake_parent_message_id: str | None = msgspec.field(name="parent_message_id", default=None)
    result: msgspec.Raw = _ABSENT
    role: str | None = None
    tool_call_name: str | None = msgspec.field(name="toolCallName", default=None)
    snake_tool_call_name: str | None = msgspec.field(name="tool_call_name", default=None)


def _messages(raw: Json) -> list[StoredMessage]:
    return snapshot_messages(b'{"messages":%b}' % raw)


DETAILS = Reading(Detail, messages=_messages)
