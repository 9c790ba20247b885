"""An agent's event made one of ours: ids and time put into its bytes, the rest left as the agent wrote it."""

from typing import Any

import msgspec

from app.agui.lenient import Json, members, reader

_string = reader(str)


def with_ids(
    raw: Json,
    run_id: str,
    thread_id: str,
    timestamp: int,
    input: Any = None,  # noqa: A002  the member's own name
) -> bytes:
    """The event with our ids, with a timestamp (ms) if it has none, and RUN_STARTED with an input if it has none.

    `input` is a RunAgentInput: a dict, or JSON as `msgspec.Raw`. Every other member keeps its bytes and its place (half
    a surrogate pair becomes U+FFFD); an event that needs no change is returned as it is. Raises ValueError if `raw` is
    no JSON object in UTF-8.
    """
    event = bytes(raw)
    event.decode()
    values = members(event)
    if values is None:
        raise ValueError("not a JSON object")
    changes: dict[str, Any] = {}
    for ours, name, snake_name in ((run_id, "runId", "run_id"), (thread_id, "threadId", "thread_id")):
        if name not in values or _string(values[name]) != ours:
            changes[name] = ours
        if snake_name in values and _string(values[snake_name]) != ours:
            changes[snake_name] = ours
    if _absent(values, "timestamp"):
        changes["timestamp"] = timestamp
    if input is not None and _absent(values, "input") and _string(values.get("type", b"")) == "RUN_STARTED":
        changes["input"] = input
    return msgspec.json.encode({**values, **changes}) if changes else event


def _absent(values: dict[str, msgspec.Raw], name: str) -> bool:
    # The official client refuses an event with a null, so one that is there is no value to keep.
    return name not in values or bytes(values[name]) == b"null"
