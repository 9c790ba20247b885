"""Entries of a log as they come out of a longer text: whole ones, cut at commas that a decoder has confirmed."""

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Generic

import msgspec

from app.agui.decode import E, Entries, Reading
from app.agui.lenient import UNREADABLE


class _Export(msgspec.Struct):
    events: list[msgspec.Raw] | None = msgspec.field(name="aguiEvents", default=None)


_export = msgspec.json.Decoder(_Export).decode

_BEGIN = re.compile(rb'"aguiEvents"\s*:\s*\[')
_OPENING = b'{"aguiEvents":['
_TYPE = b'"type"'
# Around its type an event ends, or begins; a message inside of one has no type in capitals.
_LAST_MEMBER = re.compile(rb'"type"\s*:\s*"[A-Z_]+"\s*\}\s*(,)')
_FIRST_MEMBER = re.compile(rb"(,)\s*\{\s*\Z")
_LOOKBACK = 64
_GUESSES = 16
SLICE = 1 << 16  # bytes that are decoded at once
_PART = 1 << 14  # bytes that are checked at once: as text, four times as many, they still fit the heap as it is


class Splitter(Generic[E]):
    """Takes an export of the platform in pieces and gives its `aguiEvents`, about SLICE bytes at a time.

    Where a slice of the array ends is guessed, then decoded: what reads as an array of its own is a number of whole
    entries. A wrong guess costs time, and memory until there is a right one; nothing else depends on it. Raises
    DecodeError or UnicodeError for what is no JSON object in UTF-8; what lies behind the array is judged at the end.
    It has one member `aguiEvents`.
    """

    def __init__(self, reading: Reading[E]) -> None:
        self._reading = reading
        self._pieces: list[bytes | memoryview] = []
        self._size = 0
        self._enough = SLICE
        self._tried = 0
        self._inside = False
        self._unfinished = False
        self._text = codecs.getincrementaldecoder("utf-8")()

    def take(self, piece: bytes) -> Iterator[Entries[E]]:
        """The entries that are complete with this piece of the text, which is read as far as the iteration goes."""
        view = memoryview(piece)
        for start in range(0, len(view), _PART):
            part = view[start : start + _PART]
            self._text.decode(part)
            self._pieces.append(part)
            self._size += len(part)
            if self._size >= self._enough and (found := self._complete()):
                yield found

    def _complete(self) -> Entries[E] | None:
        text = b"".join(self._pieces)
        if not self._inside and (end := _head(text)):
            self._inside, text = True, text[end:]
        found = self._cut(text) if self._inside else None
        self._unfinished = self._unfinished or found is not None
        rest = text[len(found.array) - 1 :] if found else text
        self._pieces, self._size = [rest], len(rest)
        self._enough = SLICE if found else 2 * len(rest)
        self._tried = 0 if found or not self._inside else len(rest)
        return found

    def rest(self) -> Entries[E]:
        """The last entries, since nothing follows."""
        self._text.decode(b"", final=True)
        text = b"".join(self._pieces)
        if self._unfinished and text.lstrip().startswith(b"]"):
            raise msgspec.DecodeError("no entry behind a comma")
        raws = _whole(_OPENING + text if self._inside else text)
        return Entries(b"[%b]" % b",".join(raws), self._reading)

    def _cut(self, text: bytes) -> Entries[E] | None:
        """As many entries as a text begins with and as can be told from what follows; behind them stands a comma."""
        view = memoryview(text)
        for comma in islice(_commas(text, max(self._tried - _LOOKBACK, 0)), _GUESSES):
            with suppress(*UNREADABLE):
                return Entries(b"".join((b"[", view[:comma], b"]")), self._reading)
        return None


def _head(text: bytes) -> int:
    """Where the array's first entry begins; 0 if the array is not there yet."""
    for found in islice(_BEGIN.finditer(text), _GUESSES):
        with suppress(*UNREADABLE):
            if _export(text[: found.end()] + b"]}").events is not None:
                return found.end()
    return 0


def _commas(text: bytes, start: int) -> Iterator[int]:
    """Where an entry may end behind `start`, the likeliest first."""
    place = len(text)
    while (place := text.rfind(_TYPE, start, place)) >= 0:
        if found := _LAST_MEMBER.match(text, place):
            yield found.start(1)
        elif found := _FIRST_MEMBER.search(text[max(place - _LOOKBACK, 0) : place]):
            yield max(place - _LOOKBACK, 0) + found.start(1)
    place = len(text)
    while (place := text.rfind(b"},", start, place)) >= 0:
        yield place + 1
        place //= 2


def _whole(text: bytes) -> list[msgspec.Raw]:
    """All entries of an export; none where `aguiEvents` is null, missing or no list."""
    try:
        return _export(text).events or []
    except msgspec.ValidationError:
        if not isinstance(msgspec.json.decode(text), dict):
            raise
    return []
