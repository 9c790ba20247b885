"""Events that the server itself writes, so that every run has a beginning, no open parts, and one end."""

from typing import Any

import msgspec

from app.agui.events import Event, encode_event
from app.agui.lenient import Lenient


def run_started(thread_id: str, run_id: str, run_input: Any, timestamp: int) -> bytes:
    """Return RUN_STARTED with the run's input, if any (a dict, or JSON as `msgspec.Raw`); `timestamp` in ms."""
    return encode_event("RUN_STARTED", threadId=thread_id, runId=run_id, timestamp=timestamp, input=run_input)


def run_error(thread_id: str, run_id: str, message: str, code: str | None, timestamp: int) -> bytes:
    """Return RUN_ERROR with a sentence for a person and a stable code, if any; `timestamp` in ms."""
    message = message.encode(errors="replace").decode()  # half a surrogate pair must not keep a run from ending
    return encode_event("RUN_ERROR", threadId=thread_id, runId=run_id, timestamp=timestamp, message=message, code=code)


def run_cancelled(thread_id: str, run_id: str, timestamp: int) -> bytes:
    """Return RUN_FINISHED for a run that was interrupted; `timestamp` in ms."""
    outcome = {"type": "cancelled"}
    return encode_event("RUN_FINISHED", threadId=thread_id, runId=run_id, timestamp=timestamp, outcome=outcome)


class _PartKey(msgspec.Struct, gc=False):
    step_name: str | None = msgspec.field(name="stepName", default=None)
    snake_step_name: str | None = msgspec.field(name="step_name", default=None)
    subagent_run_id: str | None = msgspec.field(name="subagentRunId", default=None)


_part_key = Lenient(_PartKey)

# The event that opens a part, the one that closes it, and the member by which both identify it.
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

# The event that continues a part, or ends it in another way, and the one that closes the part.
_CONTINUES = {
    "REASONING_MESSAGE_CONTENT": "REASONING_MESSAGE_END",
    "THINKING_TEXT_MESSAGE_CONTENT": "THINKING_TEXT_MESSAGE_END",
    "TEXT_MESSAGE_CONTENT": "TEXT_MESSAGE_END",
    "TOOL_CALL_ARGS": "TOOL_CALL_END",
    "SUBAGENT_ERROR": "SUBAGENT_FINISHED",
}


class OpenParts:
    """The messages, tool calls, thoughts and steps that a run has begun and not ended.

    A run may end only when nothing is open, or a reader would wait for more of a message.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str | None], None] = {}

    def observe(self, event: Event) -> None:
        """Apply the run's next event."""
        kind = event.type or ""
        if kind in _PARTS:
            closing, key = _PARTS[kind]
            self._open[closing, _identify(event, key)] = None
        elif kind in _KEYS:
            self._open.pop((kind, _identify(event, _KEYS[kind])), None)
        elif kind == "SUBAGENT_ERROR":
            self._open.pop((_CONTINUES[kind], _identify(event, "subagentRunId")), None)

    def fits(self, event: Event) -> bool:
        """Return whether the event begins what is not open, or continues or ends what is; True if it does neither.

        An event of a part that does not identify it does not fit, unless its type has no such member.
        """
        kind = event.type or ""
        closing = _PARTS[kind][0] if kind in _PARTS else _CONTINUES.get(kind, kind)
        if closing not in _KEYS:
            return True
        identity = _identify(event, _KEYS[closing])
        if identity is None and not closing.startswith("THINKING"):
            return False
        return ((closing, identity) in self._open) is not (kind in _PARTS)

    def close(self, thread_id: str, run_id: str, timestamp: int) -> list[bytes]:
        """Return the events that end all open parts, the last one opened first; nothing is open afterwards."""
        closing = [
            encode_event(kind, threadId=thread_id, runId=run_id, timestamp=timestamp, **{_KEYS[kind]: identity})
            for kind, identity in reversed(self._open)
        ]
        self._open.clear()
        return closing


def _identify(event: Event, key: str) -> str | None:
    if key == "messageId":
        return event.message_id
    if key == "toolCallId":
        return event.tool_call_id
    if (named := _part_key(event.raw)) is None:
        return None
    return named.subagent_run_id if key == "subagentRunId" else named.step_name or named.snake_step_name
