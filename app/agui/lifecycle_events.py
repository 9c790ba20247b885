"""The events that the engine itself writes, so that every run has a beginning, closed parts and one end."""

from typing import Any

import msgspec

from app.agui.events import Event
from app.agui.lenient import Lenient

_encode = msgspec.json.encode


def run_started(
    thread_id: str,
    run_id: str,
    input: Any,  # noqa: A002  the member's own name
    timestamp: int,
) -> bytes:
    """RUN_STARTED with the RunAgentInput that began it, if any (a dict, or JSON as `msgspec.Raw`); time in ms."""
    return _event("RUN_STARTED", thread_id, run_id, timestamp, input=input)


def run_error(thread_id: str, run_id: str, message: str, code: str | None, timestamp: int) -> bytes:
    """RUN_ERROR with a sentence for a person and, if there is one, a stable code; `timestamp` in ms."""
    message = message.encode(errors="replace").decode()  # half a surrogate pair must not keep a run from ending
    return _event("RUN_ERROR", thread_id, run_id, timestamp, message=message, code=code)


def run_cancelled(thread_id: str, run_id: str, timestamp: int) -> bytes:
    """RUN_FINISHED for a run that was interrupted; `timestamp` in ms."""
    return _event("RUN_FINISHED", thread_id, run_id, timestamp, outcome={"type": "cancelled"})


def _event(type_: str, thread_id: str, run_id: str, timestamp: int, **fields: Any) -> bytes:
    present = {key: value for key, value in fields.items() if value is not None}
    return _encode({"type": type_, "threadId": thread_id, "runId": run_id, "timestamp": timestamp, **present})


class _PartKey(msgspec.Struct, gc=False):
    step_name: str | None = msgspec.field(name="stepName", default=None)
    snake_step_name: str | None = msgspec.field(name="step_name", default=None)
    subagent_run_id: str | None = msgspec.field(name="subagentRunId", default=None)


_part_key = Lenient(_PartKey)

# What opens a part, what closes it, and the member that both name it by.
_PARTS = {
    "STEP_STARTED": ("STEP_FINISHED", "stepName"),
    "REASONING_START": ("REASONING_END", "messageId"),
    "REASONING_MESSAGE_START": ("REASONING_MESSAGE_END", "messageId"),
    "THINKING_START": ("THINKING_END", "messageId"),
    "THINKING_TEXT_MESSAGE_START": ("THINKING_TEXT_MESSAGE_END", "messageId"),
    "TEXT_MESSAGE_START": ("TEXT_MESSAGE_END", "messageId"),
    "TOOL_CALL_START": ("TOOL_CALL_END", "toolCallId"),
    "SUBAGENT_STARTED": ("SUBAGENT_FINISHED", "subagentRunId"),
}
_KEYS = dict(_PARTS.values())

# What goes on with a part, or ends it another way, by what closes it.
_CONTINUES = {
    "REASONING_MESSAGE_CONTENT": "REASONING_MESSAGE_END",
    "THINKING_TEXT_MESSAGE_CONTENT": "THINKING_TEXT_MESSAGE_END",
    "TEXT_MESSAGE_CONTENT": "TEXT_MESSAGE_END",
    "TOOL_CALL_ARGS": "TOOL_CALL_END",
    "SUBAGENT_ERROR": "SUBAGENT_FINISHED",
}


class OpenParts:
    """The messages, tool calls, thoughts and steps that a run has begun and not ended.

    A run may end only when nothing is open: a reader would take the rest of a message for still to come.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str | None], None] = {}

    def observe(self, event: Event) -> None:
        """Take the run's next event."""
        kind = event.type or ""
        if kind in _PARTS:
            closing, key = _PARTS[kind]
            self._open[closing, _name(event, key)] = None
        elif kind in _KEYS:
            self._open.pop((kind, _name(event, _KEYS[kind])), None)
        elif kind == "SUBAGENT_ERROR":
            self._open.pop((_CONTINUES[kind], _name(event, "subagentRunId")), None)

    def fits(self, event: Event) -> bool:
        """Whether the event begins what is not open, or goes on with or ends what is; True for all that do neither.

        A part whose name is missing does not fit, except where its type has no names.
        """
        kind = event.type or ""
        closing = _PARTS[kind][0] if kind in _PARTS else _CONTINUES.get(kind, kind)
        if closing not in _KEYS:
            return True
        name = _name(event, _KEYS[closing])
        if name is None and not closing.startswith("THINKING"):
            return False
        return ((closing, name) in self._open) is not (kind in _PARTS)

    def close(self, thread_id: str, run_id: str, timestamp: int) -> list[bytes]:
        """The events that end whatever is open, what was begun last first; nothing is open afterwards."""
        closing = [
            _event(kind, thread_id, run_id, timestamp, **{_KEYS[kind]: name}) for kind, name in reversed(self._open)
        ]
        self._open.clear()
        return closing


def _name(event: Event, key: str) -> str | None:
    if key == "messageId":
        return event.message_id
    if key == "toolCallId":
        return event.tool_call_id
    if (named := _part_key(event.raw)) is None:
        return None
    return named.subagent_run_id if key == "subagentRunId" else named.step_name or named.snake_step_name
