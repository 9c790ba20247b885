"""The events of a session as they arrive, resumed after a broken connection."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import requests

from app.cli.api import MAX_DELAY, ApiClient

FIRST_DELAY = 0.1
"""Seconds before a stream is opened again, which grow to MAX_DELAY while streams end without a single event."""
PAGE_EVENTS = 1000

_TERMINAL_EVENTS = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_UNFINISHED = frozenset({"queued", "running"})


class Frame(NamedTuple):
    """An AG-UI event as it was sent, and the cursor after it if it has one."""

    cursor: str | None
    text: str

    @property
    def event(self) -> dict[str, Any]:
        """The parsed event, empty if the text is not a JSON object."""
        try:
            event = json.loads(self.text)
        except ValueError:
            return {}
        return event if isinstance(event, dict) else {}


def follow(client: ApiClient, session_id: str, *, after: str | None = None, run: str | None = None) -> Iterator[Frame]:
    """Yield the events after a cursor or all events, stored ones first; with `run` (its id) only its own, to its end.

    Each event is yielded once, however often the connection breaks. Raises `CliError` if the client's first connection
    fails, the server refuses to continue, or it is unreachable for too long.
    """
    query = {} if run is None else {"run_id": run}
    response = client.stream("sessions", session_id, "events", after=after, **query)
    run_is_over, delay = False, FIRST_DELAY
    while True:
        seen_end = broken = False
        began, resumed_after = time.monotonic(), after
        try:
            with response:
                for frame in _read_frames(response):
                    after = after if frame.cursor is None else frame.cursor
                    seen_end = seen_end or (run is not None and frame.event.get("type") in _TERMINAL_EVENTS)
                    yield frame
        except requests.RequestException:
            broken = True
        if seen_end or (run_is_over and not broken):
            return
        # A stream that ends before its run's terminal event may have ended with its server, so only a stream that was
        # opened after the run's end is complete.
        run_is_over = run_is_over or (run is not None and not broken and _is_over(client, session_id, run))
        if not run_is_over:
            client.report_loss()
        fruitless = after == resumed_after and time.monotonic() - began < MAX_DELAY
        delay = min(delay * 2, MAX_DELAY) if fruitless else FIRST_DELAY
        time.sleep(delay)
        response = client.stream("sessions", session_id, "events", after=after, **query)


def stored(client: ApiClient, session_id: str, *, after: str | None = None, run: str | None = None) -> Iterator[Frame]:
    """Yield the stored events after a cursor or all; with `run` (its id) only its own. Raises `CliError`."""
    query = {} if run is None else {"run_id": run}
    has_more = True
    while has_more:
        page = client.get("sessions", session_id, "output", format="events", after=after, limit=PAGE_EVENTS, **query)
        yield from (Frame(None, json.dumps(event)) for event in page["events"])
        after = page.get("next_after")
        has_more = after is not None


def _read_frames(response: requests.Response) -> Iterator[Frame]:
    cursor, data = None, []
    for line in response.iter_lines(chunk_size=None):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"id":
            cursor = value.decode(errors="replace") or None
        elif field == b"data":
            data.append(value)
        elif not line:
            if data:
                yield Frame(cursor, b"\n".join(data).decode(errors="replace"))
            cursor, data = None, []


def _is_over(client: ApiClient, session_id: str, run: str) -> bool:
    return client.get("sessions", session_id, "runs", run)["status"] not in _UNFINISHED
