"""Deltas of one message, tool call or thought that follow one another become one event."""

from collections.abc import Iterable, Iterator

import msgspec

from app.agui.decode import Event
from app.agui.lenient import Lenient, members

_TEXTS = frozenset({"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"})
_ARGS = "TOOL_CALL_ARGS"


class _Delta(msgspec.Struct, gc=False):
    delta: msgspec.Raw = msgspec.Raw()


_delta = Lenient(_Delta)


def compact(events: Iterable[Event]) -> Iterator[Event]:
    """Join adjacent deltas of one kind, run and id; every other event passes through as it is.

    A joined event has the bytes of the first one but for its delta, and the position of the last one. Deltas without
    an id, or that are no string, are not joined. Linear in the bytes of the log.
    """
    first: Event | None = None
    last: Event | None = None
    deltas: list[bytes] = []
    for event in events:
        delta = _joinable(event)
        if first is not None and last is not None:
            if delta is not None and _same(first, event):
                deltas.append(delta)
                last = event
                continue
            yield _joined(first, last, deltas)
            first = last = None
        if delta is None:
            yield event
        else:
            first = last = event
            deltas = [delta]
    if first is not None and last is not None:
        yield _joined(first, last, deltas)


def _same(one: Event, other: Event) -> bool:
    return (
        one.type == other.type
        and one.run_id == other.run_id
        and (one.tool_call_id == other.tool_call_id if one.type == _ARGS else one.message_id == other.message_id)
    )


def _joinable(event: Event) -> bytes | None:
    """What stands between the quotes of the delta: JSON strings can be joined without decoding them."""
    if event.type in _TEXTS:
        named = event.message_id
    elif event.type == _ARGS:
        named = event.tool_call_id
    else:
        return None
    if named is None or (body := _delta(event.raw)) is None:
        return None
    text = bytes(body.delta)
    return text[1:-1] if text.startswith(b'"') else None


def _joined(first: Event, last: Event, deltas: list[bytes]) -> Event:
    if first is last:
        return first
    values = members(first.raw) or {}  # never None: the delta has been read from the same object
    values["delta"] = msgspec.Raw(b'"%b"' % b"".join(deltas))
    raw = msgspec.Raw(msgspec.json.encode(values))
    return msgspec.structs.replace(first, raw=raw, position=last.position)
