"""Recordings of a real platform, request by request, and what they tell of the growth of a session's log.

The recordings are of a backend of August 2026. A recording is a list of objects in the order of time (`t`, in ms): what
a client asked and got, each answer of a poller that differed from the one before, and each line of the live stream.
"""

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

RECORDINGS = Path(__file__).parents[1] / "ambient" / "recordings"
IDS = ("runId", "threadId", "run_id", "thread_id")
Json = dict[str, Any]


class Line(NamedTuple):
    """One event of a log: when it came, as the live stream has it and as the export has it."""

    time: int
    live: bytes
    stored: bytes

    @property
    def ends_run(self) -> bool:
        """Return whether the log is rewritten after this event."""
        return json.loads(self.stored)["type"] in {"RUN_FINISHED", "RUN_ERROR"}


def recording(number: str) -> list[Json]:
    """Return the recording whose file's name begins with that number; nobody else has its objects."""
    return [json.loads(line) for line in _lines(number)]


@cache
def _lines(number: str) -> list[str]:
    [path] = RECORDINGS.glob(f"{number}-*.jsonl.xz")
    with lzma.open(path, "rt") as lines:
        return list(lines)


def exports(number: str, session: str) -> list[tuple[int, list[Json]]]:
    """Return the events of each export of a session's log that was seen, with its time."""
    return [
        (entry["t"], entry["body"]["aguiEvents"] or [])
        for entry in recording(number)
        if (entry.get("path") or "").endswith(f"/{session}/export") and entry.get("status") == 200
    ]


def streamed_sessions(number: str) -> list[str]:
    """Return the names of the sessions whose live stream was followed from the start."""
    openings = [entry for entry in recording(number) if entry["actor"] == "sse" and "status" in entry]
    return list({entry["path"].split("/")[5]: None for entry in openings})


def session_log(number: str, session: str) -> list[Line]:
    """Return a session's events in the order of the live stream, each once, from its first connection."""
    opened = [
        entry["stream"]
        for entry in recording(number)
        if entry["actor"] == "sse" and "status" in entry and f"/{session}/" in entry["path"]
    ]
    lines = [
        (entry["t"], entry["line"].removeprefix("data: ").encode())
        for entry in recording(number)
        if entry["actor"] == "sse" and entry.get("stream") == opened[0] and entry.get("line", "").startswith("data:")
    ]
    seen = {_without_ids(event): event for _, events in exports(number, session) for event in events}
    return [Line(time, live, _stored(json.loads(live), seen)) for time, live in lines]


def _stored(event: Json, seen: dict[str, Json]) -> bytes:
    """Return an event as an export has it, or as one would have had it that was not seen before it was rewritten."""
    ids = {camel: event[snake] for camel, snake in (("runId", "run_id"), ("threadId", "thread_id")) if snake in event}
    return encode(seen.get(_without_ids(event)) or event | ids)


def _without_ids(event: Json) -> str:
    kept = {key: value for key, value in event.items() if key not in IDS}
    return json.dumps([kept, event.get("run_id")], sort_keys=True)


def encode(event: Json) -> bytes:
    """Return an event as Go writes a map: sorted, and with what HTML knows as escapes."""
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode(errors="replace")
