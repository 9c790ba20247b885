"""The formats of a session's output, made of a log that arrives in batches.

A renderer is fed the log once and keeps no more of it than its result needs: a row for each run, the messages of a
transcript, and of the formats `events` and `compact` nothing but the deltas that are being joined.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from app.agui.compaction import DeltaMerger
from app.agui.events import EVENTS, FULL_EVENTS, HEADERS, OPAQUE, EventBatch, EventDecoder, EventHeader
from app.agui.questions import Question
from app.agui.run_filter import RunFilter
from app.agui.run_summaries import SummaryBuilder
from app.agui.transcript import TranscriptBuilder
from app.models.output import EventFormat, EventLog, OutputFormat, Transcript
from app.models.runs import RunSummary

_Part = memoryview | msgspec.Raw
PIECE = 1 << 17  # bytes of a transcript that are sent at once


class RunSummarizer:
    """The runs of a log."""

    decoder = EVENTS

    def __init__(self) -> None:
        self._filter = RunFilter()
        self._builder = SummaryBuilder()

    def feed(self, batch: EventBatch[Any]) -> None:
        """Add the next entries of the log."""
        self._builder.feed(self._filter.feed(batch))

    def has(self, run_id: str) -> bool:
        """Return whether the log has an event of the run."""
        return self._builder.has(run_id)

    def questions(self) -> list[Question]:
        """Return the questions with which runs have ended."""
        return self._builder.questions()

    def summaries(
        self, *, session_running: bool, running_since: int = 0, lost_before: int | None = None
    ) -> list[RunSummary]:
        """Return a summary of each run so far."""
        return self._builder.summaries(
            session_running=session_running, running_since=running_since, lost_before=lost_before
        )


class TranscriptWriter:
    """The JSON of a `Transcript`. Later entries may change any part of it, so it is written as a whole at the end."""

    decoder = FULL_EVENTS

    def __init__(self, session_id: str, run_filter: RunFilter, *, session_running: bool) -> None:
        empty = msgspec.json.encode(Transcript(session_id=session_id, format=OutputFormat.TRANSCRIPT, messages=[]))
        self._head, self._tail = empty[:-2], empty[-2:]
        self._filter = run_filter
        self._session_running = session_running
        self._builder = TranscriptBuilder()

    def feed(self, batch: EventBatch[Any]) -> None:
        """Add the next entries of the log."""
        self._builder.feed(self._filter.feed(batch))

    def pieces(self) -> Iterator[bytes]:
        """Yield the transcript so far in pieces of about PIECE bytes; raises RunNotFound if its run is missing."""
        self._filter.finish()
        pieces, size, comma = [self._head], 0, b""
        for message in self._builder.messages(session_running=self._session_running):
            pieces += (comma, message)
            size += len(message)
            comma = b","
            if size >= PIECE:
                yield b"".join(pieces)
                pieces, size = [], 0
        yield b"".join([*pieces, self._tail])


class EventLogWriter:
    """The JSON of an `EventLog`, written as its entries arrive; they have to be decoded with `decoder`."""

    def __init__(self, session_id: str, format: EventFormat, run_filter: RunFilter) -> None:
        empty = msgspec.json.encode(EventLog(session_id=session_id, format=format, events=[]))
        self._head, self._tail = empty[:-2], empty[-2:]
        self._begun = False
        self._filter = run_filter
        self._merger = DeltaMerger() if format is OutputFormat.COMPACT else None
        uncompacted = HEADERS if run_filter.matcher else OPAQUE
        self.decoder: EventDecoder[Any] = EVENTS if self._merger else uncompacted

    def feed(self, batches: Iterable[EventBatch[Any]]) -> bytes:
        """Return the JSON that these entries add, which may be none."""
        return self._write([part for batch in batches for part in self._parts(batch)])

    def finish(self) -> Iterator[bytes]:
        """Yield the end of the JSON; raises RunNotFound if its run is missing."""
        self._filter.finish()
        last = self._write(_raws(self._merger.finish()) if self._merger else ())
        yield last + self._tail if self._begun else self._head + self._tail

    def _parts(self, batch: EventBatch[Any]) -> Sequence[_Part]:
        if self._merger:
            return _raws(self._merger.feed(self._filter.feed(batch)))
        return _raws(self._filter.feed(batch)) if self._filter.matcher else batch.event_bytes()

    def _write(self, parts: Sequence[_Part]) -> bytes:
        """Return the parts with a comma before each but the first of the log."""
        if not parts:
            return b""
        begun, self._begun = self._begun, True
        return b",".join([b"", *parts]) if begun else self._head + b",".join(parts)


def _raws(events: Iterable[EventHeader]) -> list[msgspec.Raw]:
    return [event.raw for event in events]
