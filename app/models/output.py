"""The log of a session as clients read it."""

from enum import StrEnum
from typing import Literal

import msgspec

from app.models.wire import WireModel


class OutputFormat(StrEnum):
    """A format in which a log is read."""

    TRANSCRIPT = "transcript"
    COMPACT = "compact"
    EVENTS = "events"


class ToolCall(WireModel):
    """A tool call in a transcript; `duration` is in milliseconds."""

    id: str
    name: str | None = None
    args: str | None = None
    result: str | None = None
    status: Literal["pending", "running", "completed", "error", "unknown"] | None = None
    duration: int | None = None


class MessageAttachment(WireModel):
    """A file beside the text of a message: at `path` in the workspace, at `url`, or in a place of the agent's."""

    name: str
    media_type: str | None = None
    path: str | None = None
    url: str | None = None


class Message(WireModel):
    """A message in a transcript; `timestamp` is an RFC 3339 UTC string."""

    id: str
    role: str
    content: str | None = None
    attachments: list[MessageAttachment] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    timestamp: str | None = None


class Transcript(WireModel):
    """A log as a conversation."""

    session_id: str
    format: Literal[OutputFormat.TRANSCRIPT]
    messages: list[Message]


EventFormat = Literal[OutputFormat.COMPACT, OutputFormat.EVENTS]


class EventLog(WireModel):
    """A log as AG-UI events, as stored or compacted. `next_after` is the cursor of the next page, if there is one."""

    session_id: str
    format: EventFormat
    events: list[msgspec.Raw]
    next_after: str | None = None


class LogPage(msgspec.Struct, frozen=True):
    """A part of a log: at least one event after the cursor `after`, at most `limit` events and `max_bytes` bytes."""

    after: str | None = None
    limit: int | None = None
    max_bytes: int = 1 << 20
