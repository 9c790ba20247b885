"""The events of one run out of a session's log."""

import re
from collections.abc import Iterable, Iterator

from app.agui.decode import Event

_UUID = re.compile(
    r"(?:urn:uuid:)?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})"
    r"|\{([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}"
    r"|([0-9a-f]{32})",
    re.ASCII | re.IGNORECASE,
)


def run_key(run_id: str) -> str:
    """What two spellings of one run id have in common: 32 lower-case digits of a uuid, any other id as it is."""
    uuid = _UUID.fullmatch(run_id)
    return "".join(filter(None, uuid.groups())).lower() if uuid else run_id


def of_run(events: Iterable[Event], run_id: str) -> Iterator[Event]:
    """The events of that run in order, none if the run is unknown; events without a run id belong to no run."""
    wanted = run_key(run_id)
    known: dict[str | None, bool] = {None: False}
    for event in events:
        belongs = known.get(event.run_id)
        if belongs is None:
            belongs = known[event.run_id] = run_key(event.run_id or "") == wanted
        if belongs:
            yield event
