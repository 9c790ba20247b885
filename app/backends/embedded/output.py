"""A session's whole log, or one run's, read slice by slice up to where it ended when the reading began."""

from collections.abc import AsyncGenerator, Iterator
from functools import partial

from sqlalchemy import Connection

from app.agui.decode import E, Entries, Reading
from app.agui.output import Events, Told, Written
from app.answers import JsonPieces
from app.backends.embedded import events, pages
from app.backends.embedded.database import Database
from app.backends.embedded.events import Stretch
from app.backends.embedded.sessions import SessionRow
from app.backends.slices import Log, Turns, in_turns, read, write
from app.errors import SessionNotFound
from app.types import EventFormat, SessionStatus

SLICE = 1 << 17  # bytes that are read and decoded at once; a look into the store has its price


class Output:
    """Logs of the store; `SessionNotFound` once the session is deleted, `RunNotFound`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = Turns()

    def transcript(self, session: SessionRow, run_id: str | None) -> JsonPieces:
        """The conversation as a `Transcript`."""
        return JsonPieces(self._told(session, run_id))

    def written(self, session: SessionRow, format: EventFormat, run_id: str | None) -> JsonPieces:
        """The events as an `EventLog`."""
        written = Written(session.id, format, Events())
        return JsonPieces(write(self._log(session.number, run_id, written.reading), self._turns, written))

    async def _told(self, session: SessionRow, run_id: str | None) -> AsyncGenerator[bytes, None]:
        told = Told(session.id, Events(), session_running=session.status is SessionStatus.RUNNING)
        await read(self._log(session.number, run_id, told.reading), self._turns, told.take)
        async for piece in in_turns(told.pieces(), self._turns):
            yield piece

    async def _log(self, session: int, run_id: str | None, reading: Reading[E]) -> Log[E]:
        end, run = self._database.read(partial(pages.position, session=session, after=0, run_id=run_id))
        end, after = run.last if run else end, 0

        def following() -> Iterator[Entries[E]]:
            nonlocal after
            after, array = self._database.look_up(partial(_slice, session=session, after=after, end=end, run=run))
            yield Entries(array, reading)

        while after < end:
            yield following()


def _slice(connection: Connection, session: int, after: int, end: int, run: Stretch | None) -> tuple[int, bytes]:
    """The position of the last entry and a JSON array of those behind `after`, of about SLICE bytes."""
    found: list[bytes] = []
    size = 0
    for position, event in events.behind(connection, session, after, run):
        if position > end:
            break
        found.append(event)
        size += len(event)
        after = position
        if size >= SLICE:
            break
    if not found:
        raise SessionNotFound
    return after, b"[%b]" % b",".join(found)
