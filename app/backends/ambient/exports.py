"""The logs of the platform's sessions, read out of its exports slice by slice."""

from collections.abc import Iterator
from contextlib import aclosing

import msgspec

from app.agui.decode import BYTES, EVENTS, MARKS, E, Entries, Reading
from app.agui.entries import Splitter
from app.agui.output import Events, Told, Written
from app.agui.page import Filling
from app.agui.runs import Runs
from app.answers import JsonPieces
from app.backends.ambient.failures import translated
from app.backends.ambient.platform import Platform
from app.backends.ambient.texts import clean
from app.backends.slices import Log, Turns, read, write
from app.errors import CursorAhead
from app.types import Caller, EventFormat, EventLog, OutputFormat, Page, RunSummary


class Exports:
    """What the log of a session tells; the session itself is to be read first.

    An export that is no JSON object in UTF-8 raises BackendUnavailable. Its `aguiEvents` count as none where they are
    null, missing or no list. With a `run_id` only that run's events count: RunNotFound if there are none, and the run
    is not `accepted` either.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._turns = Turns()

    async def entries(self, caller: Caller, session_id: str) -> list[msgspec.Raw]:
        """All that the log holds, as it stands."""
        found: list[msgspec.Raw] = []
        await read(self._log(caller, session_id, BYTES), self._turns, lambda entries: found.extend(entries.raws()))
        return found

    async def runs(self, caller: Caller, session_id: str, *, session_running: bool) -> list[RunSummary]:
        """The runs in the order of their start, their errors fit for a client to read."""
        events, runs = Events(), Runs()
        await read(self._log(caller, session_id, MARKS), self._turns, lambda entries: runs.take(events.take(entries)))
        summaries = runs.summaries(session_running=session_running)
        for run in summaries:
            if run.error is not None:
                run.error = clean(run.error, "Run failed")
        return summaries

    async def has_run(self, caller: Caller, session_id: str, run_id: str) -> bool:
        """Whether there is an event of the run."""
        events = Events(run_id)
        await read(self._log(caller, session_id, MARKS), self._turns, lambda entries: bool(events.take(entries)))
        return not events.missing

    def transcript(self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool) -> JsonPieces:
        """The conversation as a `Transcript`."""
        told = Told(session_id, Events(run_id, accepted=accepted), session_running=True)
        return JsonPieces(write(self._log(caller, session_id, told.reading), self._turns, told))

    def written(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, *, accepted: bool
    ) -> JsonPieces:
        """The events as an `EventLog`."""
        written = Written(session_id, format, Events(run_id, accepted=accepted))
        return JsonPieces(write(self._log(caller, session_id, written.reading), self._turns, written))

    async def page(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, page: Page, *, accepted: bool
    ) -> EventLog:
        """A page of that; CursorAhead for one that begins behind the log's end."""
        events = Events(run_id, accepted=accepted)
        filling = Filling(page, compacted=format is OutputFormat.COMPACT)
        log = self._log(caller, session_id, EVENTS)
        await read(log, self._turns, lambda entries: filling.take(events.take(entries)))
        if not filling.full:
            events.rest()
            if page.after > events.end:
                raise CursorAhead
        found, next_after = filling.rest()
        return EventLog(session_id=session_id, format=format, events=found, next_after=next_after)

    async def _log(self, caller: Caller, session_id: str, reading: Reading[E]) -> Log[E]:
        splitter = Splitter(reading)
        async with aclosing(self._platform.export(caller, session_id)) as pieces:
            async for piece in pieces:
                yield _slices(splitter, piece)
        with translated:
            rest = splitter.rest()
        yield [rest]


def _slices(splitter: Splitter[E], piece: bytes) -> Iterator[Entries[E]]:
    with translated:
        yield from splitter.take(piece)
