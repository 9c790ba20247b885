"""The output formats with plain dictionaries: decode the export, transform it, encode the result."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import from_json, to_json

from tests.bench.peers.platform_requests import Json

JOINED = {
    "TEXT_MESSAGE_CONTENT": "messageId",
    "REASONING_MESSAGE_CONTENT": "messageId",
    "TOOL_CALL_ARGS": "toolCallId",
}
ENDS = {"RUN_FINISHED": "completed", "RUN_ERROR": "error"}


def output(export: bytes, session: str, format: str) -> bytes:
    """Return the output in a format."""
    events = from_json(export)["aguiEvents"] or []
    read = READERS[format]
    return to_json({"session_id": session, "format": format, **read(events)})


def runs(export: bytes, session: str) -> bytes:
    """Return the list of runs."""
    found: dict[str, Json] = {}
    for event in from_json(export)["aguiEvents"] or []:
        run = found.setdefault(event["runId"], {"run_id": event["runId"], "status": "running", "event_count": 0})
        run["event_count"] += 1
        if event["type"] == "RUN_STARTED":
            run |= {"thread_id": event["threadId"], "started_at": event["timestamp"]}
            run["user_message"] = next((each["content"] for each in event["input"]["messages"]), None)
        elif event["type"] in ENDS:
            run |= {"status": ENDS[event["type"]], "finished_at": event["timestamp"]}
            if "message" in event:
                run["error"] = event["message"]
    return to_json({"session_id": session, "runs": list(found.values())})


def _compact(events: list[Json]) -> Iterator[Json]:
    pending: Json | None = None
    deltas: list[str] = []
    for event in events:
        key = JOINED.get(event["type"])
        if pending and key and all(event[name] == pending[name] for name in ("type", "runId", key)):
            deltas.append(event["delta"])
            continue
        if pending:
            yield pending | {"delta": "".join(deltas)}
        pending, deltas = (event, [event["delta"]]) if key else (None, [])
        if not key:
            yield event
    if pending:
        yield pending | {"delta": "".join(deltas)}


def _transcript(events: list[Json]) -> Iterator[Json]:
    latest: dict[str, Json] = {}
    for event in events:
        if event["type"] == "MESSAGES_SNAPSHOT":
            latest |= {message["id"]: message for message in event["messages"]}
    for message in latest.values():
        calls = [
            {"id": call["id"], "name": call["function"]["name"], "args": call["function"]["arguments"]}
            for call in message.get("toolCalls", [])
        ]
        fields = {"id": message["id"], "role": message["role"], "content": message["content"]}
        more = {"tool_calls": calls, "tool_call_id": message.get("toolCallId"), "name": message.get("name")}
        yield fields | {name: value for name, value in more.items() if value}


READERS: dict[str, Callable[[list[Json]], dict[str, Any]]] = {
    "events": lambda events: {"events": events},
    "compact": lambda events: {"events": list(_compact(events))},
    "transcript": lambda events: {"messages": list(_transcript(events))},
}
