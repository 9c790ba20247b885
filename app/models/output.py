"""A session's log as clients read it. `msgspec.Raw` holds JSON that passes through byte for byte."""

from enum import StrEnum
from typing import Literal

import msgspec

from app.models.wire import WireModel


class OutputFormat(StrEnum):
    """How a session's log is read."""

    TRANSCRIPT = "transcript"
    COMPACT = "compact"
    EVENTS = "events"


class ToolCall(WireModel):
    """A tool call in a transcript; `duration` in ms."""

    id: str
    name: str | None = None
    args: str | None = None
    result: str | None = None
    status: Literal["pending", "running", "completed", "error"] | None = None
    duration: int | None = None


class Message(WireModel):
    """A message of the conversation; `timestamp` is RFC 3339."""

    id: str
    role: str
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    timestamp: str | None = None


class Transcript(WireModel):
    """A session's log read as a conversation."""

    session_id: str
    format: Literal[OutputFormat.TRANSCRIPT]
    messages: list[Message]


EventFormat = Literal[OutputFormat.COMPACT, OutputFormat.EVENTS]


class EventLog(WireModel):
    """A session's log read as AG-UI events, as stored or compacted; `next_after` leads on where there is more."""

    session_id: str
    format: EventFormat
    events: list[msgspec.Raw]
    next_after: int | None = None


class LogPage(msgspec.Struct, frozen=True):
    """Which part of a log: behind the position `after`, at most `limit` events and `max_bytes` bytes, at least one."""

    after: int = 0
    limit: int | None = None
    max_bytes: int = 1 << 20
