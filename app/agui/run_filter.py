"""The events of one run in a session's log."""

import re
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from app.agui.events import EventBatch, EventHeader, H
from app.errors import RunNotFound

_HEX = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"
_UUID = re.compile(rf"(?:urn:uuid:)?({_HEX})|\{{({_HEX})\}}", re.ASCII | re.IGNORECASE)


def normalize_run_id(run_id: str) -> str:
    """Return a UUID in any spelling that the document accepts in lower case with hyphens, any other id as it is."""
    found = _UUID.fullmatch(run_id)
    return str(UUID(found[1] or found[2])) if found else run_id


def of_run(events: Iterable[H], run_id: str) -> Iterator[H]:
    """Yield the events of that run in order, none if the run is unknown; events without a run id belong to no run."""
    match = RunMatcher(run_id).match
    return (event for event in events if match(event))


class RunMatcher:
    """Recognises the events of one run, whatever the spelling of its id."""

    def __init__(self, run_id: str) -> None:
        self._wanted = normalize_run_id(run_id)
        self._known: dict[str | None, bool] = {None: False}

    def match(self, event: EventHeader) -> bool:
        """Return whether the event belongs to the run."""
        belongs = self._known.get(event.run_id)
        if belongs is None:
            belongs = self._known[event.run_id] = normalize_run_id(event.run_id or "") == self._wanted
        return belongs


class RunFilter:
    """The events of a log that arrives in batches, numbered: all of them, or those of one run.

    `end` is the position of the last event so far. `missing` is True while no event of a run has been seen that must be
    in the log, which a run that has been `accepted` need not be.
    """

    def __init__(self, run_id: str | None = None, *, accepted: bool = False) -> None:
        self.end = 0
        self.missing = run_id is not None and not accepted
        self.matcher = RunMatcher(run_id) if run_id else None

    def feed(self, batch: EventBatch[H]) -> Sequence[H]:
        """Return the events of the next batch that pass."""
        events = batch.number(self.end + 1)
        self.end += len(events)
        if self.matcher is not None:
            events = [event for event in events if self.matcher.match(event)]
            self.missing = self.missing and not events
        return events

    def finish(self) -> None:
        """Raise RunNotFound if the log ends here and the run is missing."""
        if self.missing:
            raise RunNotFound
