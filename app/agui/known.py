"""Which messages a log knows already, by all the ids that a client may give them."""

from collections.abc import Iterable, Iterator

import msgspec

from app.agui.decode import Event
from app.agui.lenient import Lenient
from app.agui.messages import StoredMessage, input_messages, snapshot_messages
from app.agui.names import Names


class _Call(msgspec.Struct, gc=False):
    parent_id: str | None = msgspec.field(name="parentMessageId", default=None)


_call = Lenient(_Call)


def known_ids(events: Iterable[Event]) -> set[str]:
    """The ids of the messages that these events say, restate or were given.

    A message without an id has the one that `Names` makes. A client that is not told in which message a tool call
    stands makes one with the id of the call.
    """
    names: dict[str, Names] = {}
    return {id for event in events for id in _ids(event, names) if id}


def _ids(event: Event, names: dict[str, Names]) -> Iterator[str | None]:
    yield event.message_id
    if event.run_id:
        yield names.setdefault(event.run_id, Names(event.run_id)).missing(event)
    if event.type == "TOOL_CALL_START":
        yield event.tool_call_id
        call = _call(event.raw)
        yield call.parent_id if call else None
    for message in _messages(event):
        yield message.id


def _messages(event: Event) -> list[StoredMessage]:
    if event.type == "MESSAGES_SNAPSHOT":
        return snapshot_messages(event.raw)
    return input_messages(event.raw) if event.type == "RUN_STARTED" else []
