"""A log that is read entry by entry, as the formats of the output."""

import msgspec

from app.agui.compact import Joiner
from app.agui.decode import Entries, Event
from app.agui.select import Selection
from app.agui.transcript import Telling
from app.errors import RunNotFound
from app.types import EventFormat, EventLog, Message, OutputFormat


class Events:
    """The events of a log, or of one run.

    `end` is the position of the log's last one so far, `missing` says that a run is looked for and not seen yet.
    """

    def __init__(self, run_id: str | None = None, *, accepted: bool = False) -> None:
        self.end = 0
        self.selection = Selection(run_id) if run_id else None
        self.missing = run_id is not None and not accepted

    def take(self, entries: Entries) -> list[Event]:
        """Those that the next entries hold."""
        events = entries.events(self.end + 1)
        self.end += len(events)
        if self.selection is None:
            return events
        mine = self.selection.take(events)
        self.missing = self.missing and not mine
        return mine

    def rest(self) -> None:
        """Nothing follows; RunNotFound without any event of the run, unless it has been accepted."""
        if self.missing:
            raise RunNotFound


class Told:
    """The transcript of the events; of the log no more is kept than that."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._telling = Telling()

    def take(self, entries: Entries) -> None:
        """Go on with these entries."""
        self._telling.take(self._events.take(entries))

    def rest(self, *, session_running: bool) -> list[Message]:
        """The messages, since nothing follows; the errors of `Events.rest`."""
        self._events.rest()
        return self._telling.messages(session_running=session_running)


class Written:
    """The JSON of an `EventLog`, which begins with the first event."""

    def __init__(self, session_id: str, format: EventFormat, events: Events) -> None:
        empty = msgspec.json.encode(EventLog(session_id=session_id, format=format, events=[]))
        self._before, self._end = empty[:-2], empty[-2:]
        self._events = events
        self._joiner = Joiner() if format is OutputFormat.COMPACT else None

    def take(self, entries: Entries) -> bytes:
        """What can be written once these entries are known."""
        if self._joiner:
            return self._with(_raw(self._joiner.take(self._events.take(entries))))
        if self._events.selection:
            return self._with(_raw(self._events.take(entries)))
        return self._with(_stored(entries))

    def rest(self) -> bytes:
        """The end, since nothing follows; the errors of `Events.rest`."""
        self._events.rest()
        last = self._with(_raw(self._joiner.rest())) if self._joiner else b""
        return last + (self._end if self._before == b"," else self._before + self._end)

    def _with(self, events: bytes) -> bytes:
        if not events:
            return b""
        before, self._before = self._before, b","
        return before + events


def _raw(events: list[Event]) -> bytes:
    return b",".join([event.raw for event in events])


def _stored(entries: Entries) -> bytes:
    """The events as they stand, one by one only where an entry among them is none."""
    return entries.array[1:-1].strip() if entries.all_events else _raw(entries.events(1))
