"""The part of the platform's live stream that repeats the log when it is connected."""

from collections import Counter
from collections.abc import Iterator, Sequence

from xxhash import xxh3_64_intdigest

from app.agui.events import Event
from app.backends.ambient.cursors import digest


class RepeatedLog:
    """The entries of a log that the stream repeats when it is connected and that have been published, each once.

    `known` are those that the export has, `gone` the digests of those that it no longer has: the log may have been
    rewritten after the stream began.
    """

    def __init__(self, known: Sequence[Event], gone: Counter[str]) -> None:
        self._known = known
        self._lines = Counter(xxh3_64_intdigest(bytes(event.raw)) for event in known)
        self._count = len(known)
        self._digests: Counter[str] | None = None
        self._gone = gone

    def has_line(self, line: bytes) -> bool:
        """Return whether the line is one of the entries, byte for byte."""
        key = xxh3_64_intdigest(line)
        if self._digests is not None or self._lines[key] <= 0:
            return False
        self._lines[key] -= 1
        self._count -= 1
        return True

    def has(self, key: str) -> bool:
        """Return whether one of the entries has this digest. The first one that has not ends those that are gone."""
        if self._gone[key] > 0:
            self._gone[key] -= 1
            return True
        if self._count and self._digests is None:
            self._digests = Counter(digest(event.raw) for event in self._unrepeated())
        if self._digests is not None and self._digests[key] > 0:
            self._digests[key] -= 1
            return True
        self._gone.clear()
        return False

    def _unrepeated(self) -> Iterator[Event]:
        for event in reversed(self._known):  # of equal ones the last
            line = xxh3_64_intdigest(bytes(event.raw))
            if self._lines[line] > 0:
                self._lines[line] -= 1
                yield event
