"""Stamps an agent's event with the ids of its run and a time, and leaves its other bytes as the agent wrote them."""

from typing import Any

import msgspec

from app.agui.lenient import Json, members, reader

_string = reader(str)


def stamp_event(raw: Json, run_id: str, thread_id: str, timestamp: int, run_input: Any = None) -> bytes:
    """Return the event with these ids, with `timestamp` (ms) if it has none, and RUN_STARTED with an input.

    `run_input`, a dict or JSON as `msgspec.Raw`, goes into a RUN_STARTED without one. Every other member keeps its
    bytes and its place (but an unpaired surrogate becomes U+FFFD), and an event that needs no change keeps all of them.
    Raises ValueError if `raw` is not a JSON object in UTF-8.
    """
    event = bytes(raw)
    event.decode()
    values = members(event)
    if values is None:
        raise ValueError("not a JSON object")
    changes: dict[str, Any] = {}
    for id_, name, snake_name in ((run_id, "runId", "run_id"), (thread_id, "threadId", "thread_id")):
        if name not in values or _string(values[name]) != id_:
            changes[name] = id_
        if snake_name in values and _string(values[snake_name]) != id_:
            changes[snake_name] = id_
    if _absent(values, "timestamp"):
        changes["timestamp"] = timestamp
    if run_input is not None and _absent(values, "input") and _string(values.get("type", b"")) == "RUN_STARTED":
        changes["input"] = run_input
    return msgspec.json.encode({**values, **changes}) if changes else event


def _absent(values: dict[str, msgspec.Raw], name: str) -> bool:
    # The official client rejects an event with a null member, so null counts as absent.
    return name not in values or bytes(values[name]) == b"null"
