"""One run out of a session's log, by its id."""

import re
from collections.abc import Iterable, Iterator
from uuid import UUID

from app.agui.events import EventHeader, M

_HEX = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"
_UUID = re.compile(rf"(?:urn:uuid:)?({_HEX})|\{{({_HEX})\}}", re.ASCII | re.IGNORECASE)


def normalize_run_id(run_id: str) -> str:
    """A uuid in any spelling that the document takes, in lower case with hyphens; any other id as it is."""
    found = _UUID.fullmatch(run_id)
    return str(UUID(found[1] or found[2])) if found else run_id


def of_run(events: Iterable[M], run_id: str) -> Iterator[M]:
    """The events of that run in order, none if the run is unknown; events without a run id belong to no run."""
    selection = Selection(run_id)
    return (event for event in events if selection.holds(event))


class Selection:
    """Tells the events of one run from those of others."""

    def __init__(self, run_id: str) -> None:
        self._wanted = normalize_run_id(run_id)
        self._known: dict[str | None, bool] = {None: False}

    def feed(self, events: Iterable[EventHeader]) -> list[int]:
        """Where those of the events are that belong to the run."""
        return [index for index, event in enumerate(events) if self.holds(event)]

    def holds(self, event: EventHeader) -> bool:
        """Whether the event belongs to the run."""
        belongs = self._known.get(event.run_id)
        if belongs is None:
            belongs = self._known[event.run_id] = normalize_run_id(event.run_id or "") == self._wanted
        return belongs
