"""The events of a session as they come, resumed where a connection broke."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import requests

from app.cli.api import ApiClient, CliError

PATIENCE_SECONDS = 60.0
"""How long a server may be away before a reader gives up."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between attempts; something on the way may cut every stream before an event comes."""
PAGE = 1000

_ENDS = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_UNDER_WAY = frozenset({"queued", "running"})


class Frame(NamedTuple):
    """An AG-UI event as it was sent, and its position in the session's log where it has one."""

    position: int | None
    text: str

    @property
    def event(self) -> dict[str, Any]:
        """The event; an empty one for what is no JSON object."""
        try:
            event = json.loads(self.text)
        except ValueError:
            return {}
        return event if isinstance(event, dict) else {}


def follow(
    client: ApiClient, session: str, *, after: int = 0, run: str | None = None, lost: Callable[[str], None]
) -> Iterator[Frame]:
    """What is stored behind the position `after`, then what comes; with `run` (its id) until that run's end.

    Nothing comes twice and nothing is missing, however often the connection breaks. `lost` is told of each break.
    Raises Failure when the first connection fails, when the server refuses to go on, or is away for too long.
    """
    query = {} if run is None else {"run_id": run}
    response = client.stream("sessions", session, "events", after=after, **query)
    over, pause = False, FIRST_PAUSE
    while True:
        seen_end = broken = False
        began, reached = time.monotonic(), after
        try:
            with response:
                for frame in _frames(response):
                    after = after if frame.position is None else frame.position
                    seen_end = seen_end or (run is not None and frame.event.get("type") in _ENDS)
                    yield frame
        except requests.RequestException:
            broken = True
        if seen_end or (over and not broken):
            return
        # A stream that is over before its run may have ended with its server: only what begins after the run is whole.
        over = over or (run is not None and not broken and _is_over(client, session, run))
        if not over:
            lost("The connection was lost; trying again.")
        fruitless = after == reached and time.monotonic() - began < LONGEST_PAUSE
        pause = min(pause * 2, LONGEST_PAUSE) if fruitless else FIRST_PAUSE
        response = _patiently(partial(client.stream, "sessions", session, "events", after=after, **query), pause)


def stored(client: ApiClient, session: str, *, after: int = 0, run: str | None = None) -> Iterator[Frame]:
    """What is stored behind the position `after`, with `run` (its id) only those of that run."""
    query = {} if run is None else {"run_id": run}
    position: int | None = after
    while position is not None:
        page = client.get("sessions", session, "output", format="events", after=position, limit=PAGE, **query)
        yield from (Frame(None, json.dumps(event)) for event in page["events"])
        position = page.get("next_after")


def _frames(response: requests.Response) -> Iterator[Frame]:
    position, data = None, []
    for line in response.iter_lines(chunk_size=None):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"id":
            position = int(value) if value.isdigit() else None
        elif field == b"data":
            data.append(value)
        elif not line:
            if data:
                yield Frame(position, b"\n".join(data).decode(errors="replace"))
            position, data = None, []


def _is_over(client: ApiClient, session: str, run: str) -> bool:
    try:
        status = client.get("sessions", session, "runs", run)["status"]
    except CliError as failure:
        if not failure.retryable:
            raise
        return False
    return status not in _UNDER_WAY


def _patiently(connect: Callable[[], requests.Response], pause: float) -> requests.Response:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        time.sleep(pause)
        try:
            return connect()
        except CliError as failure:
            if not failure.retryable or time.monotonic() > end:
                raise
            pause = max(min(pause * 2, LONGEST_PAUSE), min(failure.retry_after, PATIENCE_SECONDS))
