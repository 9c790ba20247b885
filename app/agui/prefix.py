"""Recognises a log that has only been appended to, by a hash of its beginning, so that only the rest is decoded.

The platform gives a log as a whole and without a version. Comparing it with what was read before takes a hash of its
bytes, for which XXH3 needs a hundredth of a second per 100 MB, a twentieth of the time of decoding them.
"""

from secrets import randbits
from typing import NamedTuple

from xxhash import xxh3_128

_SEED = randbits(64)  # of this process, so that nobody can write another log with the same hash
_WHITE_SPACE = b" \t\n\r"
_MAX_WHITE_SPACE = 1 << 16  # bytes between two entries


class LogPrefix(NamedTuple):
    """The first `size` bytes of a log's array of entries, up to the end of one of them, and their hash."""

    size: int
    digest: bytes


class LogRewritten(Exception):
    """The log does not begin with the known prefix any more."""


class PrefixHasher:
    """Hash of a log's array of entries while it is read, after its `known` prefix has been compared and skipped.

    `more` is whether an entry follows the known prefix; it is None until that has been seen.
    """

    def __init__(self, known: LogPrefix | None = None) -> None:
        self.more = None if known else True
        self._known = known
        self._size = 0
        self._hash = xxh3_128(seed=_SEED)
        self._separator = b""  # the comma and white space after the entries so far

    @property
    def prefix(self) -> LogPrefix | None:
        """The prefix that has been read, if any; it ends with an entry unless `more` is None."""
        return LogPrefix(self._size, self._hash.digest()) if self._size else None

    def add(self, entries: bytes | memoryview) -> None:
        """Add entries, without the comma after them."""
        self._update(self._separator)
        self._update(entries)
        self._separator = b","

    def skip_known(self, text: bytes) -> bytes:
        """Return what comes after the known prefix and its comma in `text`, the next bytes of the array.

        LogRewritten if the array begins with other bytes, or continues in another way than with a comma or its end.
        """
        if self._known and self._size < self._known.size:
            known = memoryview(text)[: self._known.size - self._size]
            self._update(known)
            if self._size < self._known.size:
                return b""
            if self.prefix != self._known:
                raise LogRewritten
            text = text[len(known) :]
        text = self._separator + text
        after = text.lstrip(_WHITE_SPACE)
        if not after:
            if len(text) > _MAX_WHITE_SPACE:
                raise LogRewritten
            self._separator = text
            return b""
        self.more = after.startswith(b",")
        if self.more:
            self._separator = text[: len(text) - len(after) + 1]
            return after[1:]
        if not after.startswith(b"]"):
            raise LogRewritten
        return after

    def _update(self, part: bytes | memoryview) -> None:
        self._hash.update(part)
        self._size += len(part)
