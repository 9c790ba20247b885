"""The logs of the platform's sessions, read out of its exports slice by slice."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import msgspec

from app.agui.decode import BYTES, EVENTS, MARKS, Bare, E, Entries, Mark, Reading
from app.agui.entries import Splitter
from app.agui.output import Events, Told, Written
from app.agui.page import Filling
from app.agui.runs import Runs
from app.agui.utf8 import need_utf8
from app.answers import JsonPieces
from app.backends.ambient.failures import translated
from app.backends.ambient.platform import Platform
from app.backends.ambient.texts import clean
from app.backends.slices import Log, Turns, read, write
from app.errors import CursorAhead
from app.types import Caller, EventFormat, EventLog, OutputFormat, Page, RunSummary


class Exports:
    """What the log of a session tells; the session itself is to be read first.

    An export that is no JSON object raises BackendUnavailable, and so does what is read or shown of it and no UTF-8.
    Its `aguiEvents` count as none where they are null, missing or no list. With a `run_id` only that run's events
    count: RunNotFound if there are none, and the run is not `accepted` either.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._turns = Turns()

    async def entries(self, caller: Caller, session_id: str) -> list[msgspec.Raw]:
        """All that the log holds, as it stands."""
        found: list[msgspec.Raw] = []

        def take(entries: Entries[Bare]) -> None:
            with translated:
                need_utf8(entries.array)
            found.extend(entries.raws())

        await read(self._log(caller, session_id, BYTES), self._turns, take)
        return found

    async def runs(self, caller: Caller, session_id: str, *, session_running: bool) -> list[RunSummary]:
        """The runs in the order of their start, their errors fit for a client to read."""
        events, runs = Events(), Runs()

        def take(entries: Entries[Mark]) -> None:
            taken = events.take(entries)
            runs.take(taken.events, taken.at)

        await read(self._log(caller, session_id, MARKS), self._turns, take)
        summaries = runs.summaries(session_running=session_running)
        for run in summaries:
            if run.error is not None:
                run.error = clean(run.error, "Run failed")
        return summaries

    async def has_run(self, caller: Caller, session_id: str, run_id: str) -> bool:
        """Whether there is an event of the run."""
        events = Events(run_id)
        await read(self._log(caller, session_id, MARKS), self._turns, lambda entries: bool(events.take(entries).events))
        return not events.missing

    def transcript(self, caller: Caller, session_id: str, run_id: str | None, *, accepted: bool) -> JsonPieces:
        """The conversation as a `Transcript`."""
        told = Told(session_id, Events(run_id, accepted=accepted), session_running=True)
        return JsonPieces(_text(write(self._log(caller, session_id, told.reading), self._turns, told)))

    def written(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, *, accepted: bool
    ) -> JsonPieces:
        """The events as an `EventLog`."""
        written = Written(session_id, format, Events(run_id, accepted=accepted))
        return JsonPieces(_text(write(self._log(caller, session_id, written.reading), self._turns, written)))

    async def page(
        self, caller: Caller, session_id: str, format: EventFormat, run_id: str | None, page: Page, *, accepted: bool
    ) -> EventLog:
        """A page of that; CursorAhead for one that begins behind the log's end."""
        events = Events(run_id, accepted=accepted)
        filling = Filling(page, compacted=format is OutputFormat.COMPACT)
        log = self._log(caller, session_id, EVENTS)
        await read(log, self._turns, lambda entries: filling.take(events.take(entries).all()))
        if not filling.full:
            events.rest()
            if page.after > events.end:
                raise CursorAhead
        found, next_after = filling.rest()
        with translated:
            for raw in found:
                need_utf8(raw)
        return EventLog(session_id=session_id, format=format, events=found, next_after=next_after)

    async def _log(self, caller: Caller, session_id: str, reading: Reading[E]) -> Log[E]:
        splitter = Splitter(reading)
        async with aclosing(self._platform.export(caller, session_id)) as pieces:
            async for piece in pieces:
                yield _slices(splitter, piece)
        with translated:
            rest = splitter.rest()
        yield [rest]


async def _text(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The pieces, which end with characters; BackendUnavailable instead of one that is not UTF-8."""
    async with aclosing(pieces):
        async for piece in pieces:
            with translated:
                need_utf8(piece)
            yield piece


def _slices(splitter: Splitter[E], piece: bytes) -> Iterator[Entries[E]]:
    with translated:
        yield from splitter.take(piece)
