"""Questions that an agent asks the user by calling a tool, after which it ends its run and waits for the answer."""

from typing import Any

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Lenient, reader
from app.agui.messages import read_call, snapshot_messages

QUESTION_TOOL = "AskUserQuestion"
"""The tool with which an agent asks the user."""


class Question(msgspec.Struct, frozen=True):
    """A question: the id of its tool call, the run that asked it, and when, in ms.

    It `is_open` while nothing has begun that could be its answer. The `snapshot` has the call's arguments.
    """

    id: str
    run_id: str
    thread_id: str | None
    created_at: int
    is_open: bool
    snapshot: msgspec.Raw | None = None

    @property
    def args(self) -> Any:
        """Return the arguments of the call, any JSON value; None if the snapshot does not have them."""
        return _arguments(self.snapshot, self.id) if self.snapshot else None


class _ToolCall(msgspec.Struct, gc=False):
    id: str | None = msgspec.field(name="toolCallId", default=None)
    name: str | None = msgspec.field(name="toolCallName", default=None)


class _End(msgspec.Struct, gc=False):
    result: msgspec.Raw = msgspec.Raw()


_tool_call = Lenient(_ToolCall)
_end = Lenient(_End)
_any = reader(Any)
_text = reader(str)


def question_id(event: EventHeader) -> str | None:
    """Return the id of the tool call if the event is the beginning of a question, else None."""
    if event.type != "TOOL_CALL_START":
        return None
    call = _tool_call(event.raw)
    return call.id if call and call.name == QUESTION_TOOL else None


def has_result(event: EventHeader) -> bool:
    """Return whether a RUN_FINISHED says what the run has come to; one that ends with a question does not."""
    end = _end(event.raw)
    return end is not None and bytes(end.result) not in {b"", b"null"}


def _arguments(snapshot: msgspec.Raw, call_id: str) -> Any:
    for message in snapshot_messages(snapshot):
        for raw in message.tool_calls or ():
            if (call := read_call(raw)) and call.id == call_id:
                text = _text(call.args)
                return _any(text.encode()) if isinstance(text, str) else _any(call.args)
    return None
