"""Ids of messages as AG-UI clients know them.

An agent may send a message, usually its reasoning, without an id. Clients need one, so the stream that a client gets
(`client_stream`) contains generated ids, and they are the same each time the log is read: when the client sends the
conversation back, `known_ids` recognises its messages.
"""

from collections.abc import Iterable, Iterator

import msgspec

from app.agui.events import Event
from app.agui.lenient import Lenient
from app.agui.messages import StoredMessage, input_messages, snapshot_messages

_PARTS = frozenset({"REASONING", "REASONING_MESSAGE", "TEXT_MESSAGE"})


class _ToolCallStart(msgspec.Struct, gc=False):
    parent_id: str | None = msgspec.field(name="parentMessageId", default=None)


_tool_call_start = Lenient(_ToolCallStart)


class GeneratedIds:
    """Message ids for the events of one run, which have to be passed in order."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._count = 0
        self._current: dict[str, str] = {}

    def generate(self, event: Event) -> str | None:
        """Return the message id that the event lacks, or None if it has one or is not part of a message."""
        part, _, step = (event.type or "").rpartition("_")
        if event.message_id is not None or part not in _PARTS:
            return None
        if step == "START":
            self._count += 1
            self._current[part] = f"{self._run_id}-{self._count}"
        return self._current.get(part)


def known_ids(events: Iterable[Event]) -> set[str]:
    """Return all ids under which a client may know the messages of these events.

    They include generated ids, and the id of each tool call: a client that is not told in which message a call is made
    makes a message with the id of the call.
    """
    generators: dict[str, GeneratedIds] = {}
    return {id for event in events for id in _ids(event, generators) if id}


def _ids(event: Event, generators: dict[str, GeneratedIds]) -> Iterator[str | None]:
    yield event.message_id
    if event.run_id:
        yield generators.setdefault(event.run_id, GeneratedIds(event.run_id)).generate(event)
    if event.type == "TOOL_CALL_START":
        yield event.tool_call_id
        call = _tool_call_start(event.raw)
        yield call.parent_id if call else None
    for message in _messages(event):
        yield message.id


def _messages(event: Event) -> list[StoredMessage]:
    if event.type == "MESSAGES_SNAPSHOT":
        return snapshot_messages(event.raw)
    return input_messages(event.raw) if event.type == "RUN_STARTED" else []
