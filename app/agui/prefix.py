"""The beginning of a log that has been read before: known again by its bytes, it need not be read once more."""

from secrets import randbits
from typing import NamedTuple

from xxhash import xxh3_128

_SEED = randbits(64)  # so that nobody can write another beginning with the same digest
_BLANK = b" \t\n\r"
_MOST_BLANK = 1 << 16  # bytes between two entries


class LogPrefix(NamedTuple):
    """The bytes of an array from its first entry to the end of one of them: how many, and their digest."""

    size: int
    digest: bytes


class LogRewritten(Exception):
    """A log no longer begins as it did."""


class PrefixHasher:
    """The bytes of an array as they are read; what is `known` of it is compared and passed over.

    `more` says whether entries follow what is known, and is None until that has been seen.
    """

    def __init__(self, known: LogPrefix | None = None) -> None:
        self.more = None if known else True
        self._known = known
        self._size = 0
        self._digest = xxh3_128(seed=_SEED)
        self._gap = b""

    @property
    def prefix(self) -> LogPrefix | None:
        """What has been read so far, if anything has: it ends with an entry, unless `more` is None."""
        return LogPrefix(self._size, self._digest.digest()) if self._size else None

    def add(self, entries: bytes | memoryview) -> None:
        """Go on with these; a comma is behind those before."""
        self._hash(self._gap)
        self._hash(entries)
        self._gap = b","

    def rest(self, text: bytes) -> bytes:
        """What stands in `text`, the array's next bytes, behind what is known and its comma; `Rewritten`."""
        if self._known and self._size < self._known.size:
            known = memoryview(text)[: self._known.size - self._size]
            self._hash(known)
            if self._size < self._known.size:
                return b""
            if self.prefix != self._known:
                raise LogRewritten
            text = text[len(known) :]
        text = self._gap + text
        news = text.lstrip(_BLANK)
        if not news:
            if len(text) > _MOST_BLANK:
                raise LogRewritten
            self._gap = text
            return b""
        self.more = news.startswith(b",")
        if self.more:
            self._gap = text[: len(text) - len(news) + 1]
            return news[1:]
        if not news.startswith(b"]"):
            raise LogRewritten
        return news

    def _hash(self, part: bytes | memoryview) -> None:
        self._digest.update(part)
        self._size += len(part)
