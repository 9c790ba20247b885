"""The part of the platform's live stream that repeats the log when it is connected."""

from collections import Counter
from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from app.agui.events import Event
from app.backends.ambient.cursors import digest


class RepeatedLog:
    """The published entries of a log that the stream repeats when it is connected, each once.

    `known` are those that the log has and `missed` the others that it has. `deleted` are those that a rewrite may have
    deleted after the stream began: they came before the end of the run that rewrote the log, so once the stream has
    brought all that the log has, they are over.
    """

    def __init__(self, known: Sequence[Event], missed: Sequence[Event], deleted: Sequence[Event]) -> None:
        self._known, self._missed, self._deleted = _Entries(known), _Entries(missed), _Entries(deleted)

    @property
    def is_over(self) -> bool:
        """Return whether the stream has brought all that the log had."""
        return not self._known.count and not self._missed.count

    def has_line(self, line: bytes) -> bool:
        """Return whether the line is one of the entries, byte for byte."""
        key = xxh3_64_intdigest(line)
        return not self.is_over and (self._deleted.take_line(key) or self._known.take_line(key))

    def has(self, key: str) -> bool:
        """Return whether one of the entries has this digest; it is that of a line that none of them has."""
        if self.is_over:
            return False
        if self._deleted.take(key) or self._known.take(key):
            return True
        self._missed.take(key)
        return False


class _Entries:
    """Entries that have not been repeated yet, by the hash of their bytes and by digest."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.count = len(events)
        self._events = events
        self._lines = Counter(_line_key(event) for event in events)
        self._spellings: dict[str, set[int]] | None = None

    def take_line(self, key: int) -> bool:
        if not self.count or self._lines[key] <= 0:
            return False
        self._lines[key] -= 1
        self.count -= 1
        return True

    def take(self, key: str) -> bool:
        if not self.count:
            return False
        if self._spellings is None:
            self._spellings = {}
            for event in self._events:
                line = _line_key(event)
                if self._lines[line] > 0:
                    self._spellings.setdefault(digest(event.raw), set()).add(line)
        return any(self.take_line(line) for line in self._spellings.get(key, ()))


def deleted_entries(before: Sequence[Event], now: Sequence[Event]) -> list[Event]:
    """Return those entries of a log as it was `before` that it does not have now."""
    left = _Entries(now)
    missing = [event for event in before if not left.take_line(_line_key(event))]
    return [event for event in missing if not left.take(digest(event.raw))] if left.count else missing


def _line_key(event: Event) -> int:
    return xxh3_64_intdigest(bytes(event.raw))
