"""Entries of a log as they come out of a longer text: whole ones, cut at commas that a decoder has confirmed."""

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import msgspec

from app.agui.decode import Entries
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
SLICE = 1 << 17  # bytes that are decoded at once


class Splitter:
    """Takes an export of the platform in pieces and gives its `aguiEvents`, about SLICE bytes at a time.

    Where a piece of the array ends is guessed, then decoded: what reads as an array of its own is a number of whole
    entries. A wrong guess costs time, and memory until there is a right one; nothing else depends on it. Raises
    ValueError for what is no JSON object in UTF-8; what lies behind the array is judged at the end. It has one
    member `aguiEvents`.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._enough = SLICE
        self._inside = False
        self._unfinished = False
        self._text = codecs.getincrementaldecoder("utf-8")()

    def take(self, piece: bytes) -> Entries | None:
        """The entries that are complete with this piece of the text; None if it is worth waiting for more."""
        self._text.decode(piece)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size < self._enough:
            return None
        text = b"".join(self._pieces)
        if not self._inside and (end := _head(text)):
            self._inside, text = True, text[end:]
        found = _cut(text) if self._inside else None
        self._unfinished = self._unfinished or found is not None
        rest = text[len(found.array) - 1 :] if found else text
        self._pieces, self._size = [rest], len(rest)
        self._enough = SLICE if found else 2 * len(rest)
        return found

    def rest(self) -> Entries:
        """The last entries, since nothing follows."""
        self._text.decode(b"", final=True)
        text = b"".join(self._pieces)
        if self._unfinished and text.lstrip().startswith(b"]"):
            raise ValueError("no entry behind a comma")
        raws = _whole(_OPENING + text if self._inside else text)
        return Entries(b"[%b]" % b",".join(raws))


def _head(text: bytes) -> int:
    """Where the array's first entry begins; 0 if the array is not there yet."""
    for found in islice(_BEGIN.finditer(text), _GUESSES):
        with suppress(*UNREADABLE):
            if _export(text[: found.end()] + b"]}").events is not None:
                return found.end()
    return 0


def _cut(text: bytes) -> Entries | None:
    """As many of the entries that a text begins with as can be told from what follows; behind them stands a comma."""
    view = memoryview(text)
    for comma in islice(_commas(text), _GUESSES):
        with suppress(*UNREADABLE):
            return Entries(b"".join((b"[", view[:comma], b"]")))
    return None


def _commas(text: bytes) -> Iterator[int]:
    """Where an entry may end, the likeliest first."""
    place = len(text)
    while (place := text.rfind(_TYPE, 0, place)) >= 0:
        if found := _LAST_MEMBER.match(text, place):
            yield found.start(1)
        elif found := _FIRST_MEMBER.search(text[max(place - _LOOKBACK, 0) : place]):
            yield max(place - _LOOKBACK, 0) + found.start(1)
    place = len(text)
    while (place := text.rfind(b"},", 0, place)) >= 0:
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
