"""A log that is read entry by entry, as the formats of the output."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import BYTES, EVENTS, FULL_EVENTS, MARKS, EventBatch, EventDecoder, EventHeader, M
from app.agui.run_filter import Selection
from app.agui.run_summaries import Runs
from app.agui.transcript import TranscriptBuilder
from app.errors import RunNotFound
from app.models.output import EventFormat, EventLog, OutputFormat, Transcript
from app.models.runs import RunSummary

_Part = memoryview | msgspec.Raw
PIECE = 1 << 17  # bytes of a transcript that are sent at once


class RunFilter:
    """The events of a log, or of one run.

    `end` is the position of the log's last one so far, `missing` says that a run is looked for and not seen yet.
    """

    def __init__(self, run_id: str | None = None, *, accepted: bool = False) -> None:
        self.end = 0
        self.selection = Selection(run_id) if run_id else None
        self.missing = run_id is not None and not accepted

    def feed(self, entries: EventBatch[M]) -> EventBatch[M]:
        """Count the next entries and leave those that are asked for."""
        entries.count(self.end + 1)
        self.end += len(entries.events)
        if self.selection is not None:
            entries.keep(self.selection.feed(entries.events))
            self.missing = self.missing and not entries.events
        return entries

    def finish(self) -> None:
        """Nothing follows; RunNotFound without any event of the run, unless it has been accepted."""
        if self.missing:
            raise RunNotFound


class RunSummarizer:
    """The runs of a log, which are all that is kept of it."""

    reading = MARKS

    def __init__(self) -> None:
        self._events = RunFilter()
        self._runs = Runs()

    def feed(self, entries: EventBatch[Any]) -> None:
        """Go on with these entries."""
        taken = self._events.feed(entries)
        self._runs.feed(taken.events, taken.at)

    def has(self, run_id: str) -> bool:
        """Whether there is an event of the run."""
        return self._runs.has(run_id)

    def summaries(self, *, session_running: bool) -> list[RunSummary]:
        """One summary for each run so far."""
        return self._runs.summaries(session_running=session_running)


class TranscriptWriter:
    """The JSON of a `Transcript` of the events; of the log no more is kept than that."""

    reading = FULL_EVENTS

    def __init__(self, session_id: str, events: RunFilter, *, session_running: bool) -> None:
        empty = msgspec.json.encode(Transcript(session_id=session_id, format=OutputFormat.TRANSCRIPT, messages=[]))
        self._before, self._end = empty[:-2], empty[-2:]
        self._events = events
        self._session_running = session_running
        self._telling = TranscriptBuilder()

    def feed(self, entries: EventBatch[Any]) -> None:
        """Go on with these entries, which may change all that has been told."""
        taken = self._events.feed(entries)
        self._telling.feed(taken.events, taken.at)

    def pieces(self) -> Iterator[bytes]:
        """All of it so far in pieces of about PIECE bytes; the errors of `Events.rest`."""
        self._events.finish()
        pieces, size, comma = [self._before], 0, b""
        for message in self._telling.messages(session_running=self._session_running):
            pieces += (comma, message)
            size += len(message)
            comma = b","
            if size >= PIECE:
                yield b"".join(pieces)
                pieces, size = [], 0
        yield b"".join([*pieces, self._end])


class EventLogWriter:
    """The JSON of an `EventLog`, which begins with the first event; `reading` says as what it takes the entries."""

    def __init__(self, session_id: str, format: EventFormat, events: RunFilter) -> None:
        empty = msgspec.json.encode(EventLog(session_id=session_id, format=format, events=[]))
        self._before, self._end = empty[:-2], empty[-2:]
        self._begun = False
        self._events = events
        self._joiner = DeltaMerger() if format is OutputFormat.COMPACT else None
        whole = MARKS if events.selection else BYTES
        self.reading: EventDecoder[Any] = EVENTS if self._joiner else whole

    def feed(self, slices: Iterable[EventBatch[Any]]) -> bytes:
        """What can be written once these entries are known."""
        return self._written([part for entries in slices for part in self._read(entries)])

    def _read(self, entries: EventBatch[Any]) -> Sequence[_Part]:
        if self._joiner:
            taken = self._events.feed(entries)
            return _raws(self._joiner.feed(taken.events, taken.at))
        return _raws(self._events.feed(entries).all()) if self._events.selection else entries.stored()

    def finish(self) -> Iterator[bytes]:
        """The end, since nothing follows; the errors of `Events.rest`."""
        self._events.finish()
        last = self._written(_raws(self._joiner.finish()) if self._joiner else ())
        yield last + self._end if self._begun else self._before + self._end

    def _written(self, parts: Sequence[_Part]) -> bytes:
        """The parts with a comma before each but the log's first one."""
        if not parts:
            return b""
        begun, self._begun = self._begun, True
        return b",".join([b"", *parts]) if begun else self._before + b",".join(parts)


def _raws(events: Iterable[EventHeader]) -> list[msgspec.Raw]:
    return [event.raw for event in events]
