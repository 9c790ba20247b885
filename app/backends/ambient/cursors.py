"""Cursors into a log that the platform rewrites.

At the end of each run the platform deletes from the whole log what does not last: words, tool calls, thoughts. The
lasting events keep their order and their bytes. So a cursor counts them apart:

    L.O.l.o     the L-th lasting event, whose digest is l, and the O-th other event after it, whose digest is o

In a rewritten log it is found again by L and l. Of the others that follow, those up to o have been seen; if o is gone,
so are all that had been seen, and what follows is new. A log that does not have the L-th lasting event, or has another
one there, is not the one that the cursor was made for.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import msgspec
from xxhash import xxh3_64_hexdigest

from app.agui.events import Event
from app.agui.lenient import Json, reader
from app.agui.questions import question_id
from app.errors import CursorExpired

LASTING = frozenset(
    {
        "RUN_STARTED",
        "RUN_FINISHED",
        "RUN_ERROR",
        "STEP_STARTED",
        "STEP_FINISHED",
        "MESSAGES_SNAPSHOT",
        "STATE_SNAPSHOT",
        "ACTIVITY_SNAPSHOT",
        "RAW",
        "CUSTOM",
        "META",
    }
)
"""Types of events that stay when the platform rewrites a log; the start of a question to the user stays, too."""

_LASTING_DIGITS, _OTHER_DIGITS = 12, 8
_TEXT = re.compile(
    rf"(\d{{1,16}})\.(\d{{1,16}})\.([0-9a-f]{{{_LASTING_DIGITS}}}|-)\.([0-9a-f]{{{_OTHER_DIGITS}}}|-)", re.ASCII
)


_decode: Callable[[Json], Any] = reader(Any)
_encode = msgspec.json.Encoder(order="sorted").encode
_LONG_NUMBER = re.compile(rb"\d{16}")


def lasts(event: Event) -> bool:
    """Return whether the event stays in the log when the platform rewrites it."""
    return event.type in LASTING or question_id(event) is not None


def digest(raw: Json) -> str:
    """Return a digest of what an event says, whatever the order of its members and the spelling of its strings."""
    value = _decode(raw)
    if _LONG_NUMBER.search(raw):
        value = _rounded(value)  # the platform stores numbers as doubles
    return xxh3_64_hexdigest(_encode(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Cursor(NamedTuple):
    """The part of a log that a reader has seen. The digests are empty if nothing of the kind has been seen."""

    lasting: int = 0
    others: int = 0
    last_lasting: str = ""
    last_other: str = ""

    def __str__(self) -> str:
        """Return the cursor as clients hold it."""
        return f"{self.lasting}.{self.others}.{self.last_lasting or '-'}.{self.last_other or '-'}"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return the cursor that a client sends back, the start of the log without one; `CursorExpired`."""
        if text is None or text == "0":
            return cls()
        if (found := _TEXT.fullmatch(text)) is None:
            raise CursorExpired
        lasting, others, last_lasting, last_other = found.groups()
        cursor = cls(int(lasting), int(others), last_lasting.strip("-"), last_other.strip("-"))
        if bool(cursor.lasting) != bool(cursor.last_lasting) or bool(cursor.others) != bool(cursor.last_other):
            raise CursorExpired
        return cursor

    @property
    def short(self) -> tuple[int, int]:
        """Return the two counts, by which cursors of one log are ordered."""
        return self.lasting, self.others


START = Cursor()


class Tracker:
    """The cursor of a reader that is given a log's events one after the other."""

    def __init__(self, cursor: Cursor = START) -> None:
        self._cursor = cursor
        self._last_lasting: Event | None = None
        self._last_other: Event | None = None

    def add(self, events: Iterable[Event]) -> None:
        """Go on behind these events."""
        lasting, others, *digests = self._cursor
        for event in events:
            if lasts(event):
                lasting, others, self._last_lasting, self._last_other = lasting + 1, 0, event, None
            else:
                others, self._last_other = others + 1, event
        self._cursor = Cursor(lasting, others, digests[0], digests[1] if others else "")

    @property
    def cursor(self) -> Cursor:
        """Return the cursor behind the last event."""
        cursor = self._cursor
        if self._last_lasting is not None:
            cursor = cursor._replace(last_lasting=digest(self._last_lasting.raw)[:_LASTING_DIGITS])
        if self._last_other is not None:
            cursor = cursor._replace(last_other=_other_digest(self._last_other))
        self._cursor, self._last_lasting, self._last_other = cursor, None, None
        return cursor


class Finder:
    """Search for a cursor in a log that is read from its first event, or from a cursor `start` on.

    Once the cursor is `found`, `at` is the same place in the log as it is now.
    """

    def __init__(self, wanted: Cursor, start: Cursor = START) -> None:
        self.found = False
        self.at = wanted
        self._wanted = wanted
        self._missing = wanted.lasting - start.lasting
        self._others: list[Event] = []
        if not self._missing and wanted.last_lasting != start.last_lasting:
            raise CursorExpired

    def feed(self, events: Sequence[Event]) -> list[Event]:
        """Return those of the log's next events that come after the cursor; `CursorExpired`."""
        if self.found:
            return list(events)
        start = 0
        if self._missing:
            for index, event in enumerate(events):
                if lasts(event):
                    self._missing -= 1
                    if not self._missing:
                        self._check(event)
                        start = index + 1
                        break
            else:
                return []
        for index in range(start, len(events)):
            if len(self._others) == self._wanted.others or lasts(events[index]):
                self.found = True
                return [*self._unseen(), *events[index:]]
            self._others.append(events[index])
        return []

    def finish(self) -> list[Event]:
        """Return those that come after the cursor, since the log has no more events; `CursorExpired`."""
        if self._missing:
            raise CursorExpired
        return [] if self.found else self._unseen()

    def _check(self, event: Event) -> None:
        if digest(event.raw)[:_LASTING_DIGITS] != self._wanted.last_lasting:
            raise CursorExpired

    def _unseen(self) -> list[Event]:
        """Return what follows the last other event that the cursor counts; all if that is gone."""
        others, self._others = self._others, []
        for index in range(len(others), 0, -1):
            if _other_digest(others[index - 1]) == self._wanted.last_other:
                self.at = self._wanted._replace(others=index)
                return others[index:]
        self.at = self._wanted._replace(others=0, last_other="")
        return others


def locate(events: Sequence[Event], cursor: Cursor) -> tuple[list[Event], Cursor]:
    """Return the events of a whole log that come after a cursor, and the cursor as it is now; `CursorExpired`."""
    finder = Finder(cursor)
    found = [*finder.feed(events), *finder.finish()]
    return found, finder.at


def end_of_lasting(events: Sequence[Event]) -> int:
    """Return how many events there are up to the last one that lasts."""
    return next((index for index in range(len(events), 0, -1) if lasts(events[index - 1])), 0)


def _other_digest(event: Event) -> str:
    return digest(event.raw)[:_OTHER_DIGITS]
