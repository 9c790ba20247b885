"""The shared state of a thread, folded from its log: the state that AG-UI agents and their clients both change."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jsonpatch
import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import UNREADABLE, Json, Lenient

MAX_BYTES = 8 * 1024 * 1024
"""The largest state; a patch can copy parts of a document into itself, which doubles it each time."""

_FAILURES = (*UNREADABLE, jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, IndexError)


class _Carrier(msgspec.Struct, gc=False):
    input: msgspec.Raw = msgspec.Raw()
    state: msgspec.Raw = msgspec.Raw()
    snapshot: msgspec.Raw = msgspec.Raw()
    delta: msgspec.Raw = msgspec.Raw()


_carrier = Lenient(_Carrier)


def shared_state(events: Sequence[EventHeader]) -> Any:
    """Return the state after the events of a thread, None if they say nothing about one.

    A run whose input brings a state, and each STATE_SNAPSHOT, replace it; each STATE_DELTA patches it. A patch that
    does not fit is left out.
    """
    changes = [event for event in events if event.type in {"RUN_STARTED", "STATE_SNAPSHOT", "STATE_DELTA"}]
    state, first = None, 0
    for index in range(len(changes) - 1, -1, -1):
        if (found := _replacement(changes[index])) is not None:
            state, first = found, index + 1
            break
    for event in changes[first:]:
        if event.type == "STATE_DELTA" and (carrier := _carrier(event.raw)):
            state = _patched(state, carrier.delta)
    return state


def _replacement(event: EventHeader) -> Any:
    """Return the state that an event brings, None if it brings none."""
    carrier = None if event.type == "STATE_DELTA" else _carrier(event.raw)
    if carrier is None:
        return None
    if event.type == "STATE_SNAPSHOT":
        return _decoded(carrier.snapshot)
    run_input = _carrier(carrier.input)
    return (_decoded(run_input.state) or None) if run_input else None


def _patched(state: Any, delta: Json) -> Any:
    """Return the state with all operations of a patch, or as it was."""
    operations = _decoded(delta)
    if not isinstance(operations, list):
        return state
    changed = {} if state is None else state
    with suppress(*_FAILURES):
        for operation in operations:
            changed = jsonpatch.apply_patch(changed, [operation])
            if operation.get("op") == "copy" and len(msgspec.json.encode(changed)) > MAX_BYTES:
                return state
        return changed
    return state


def _decoded(raw: Json) -> Any:
    with suppress(*UNREADABLE):
        return msgspec.json.decode(raw) if raw else None
    return None
