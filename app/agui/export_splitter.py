"""Entries of a log as they come out of a longer text: whole ones, cut at commas that a decoder has confirmed."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Generic

import msgspec

from app.agui.events import E, EventBatch, EventDecoder
from app.agui.lenient import UNREADABLE
from app.agui.prefix import LogRewritten, PrefixHasher


class _Export(msgspec.Struct):
    events: list[msgspec.Raw] | None = msgspec.field(name="aguiEvents", default=None)


_export = msgspec.json.Decoder(_Export).decode

_BEGIN = re.compile(rb'"aguiEvents"\s*:\s*\[')
_OPENING = b'{"aguiEvents":['
_NAME = b'"type"'
# The type of an event, and the comma behind it if that was its last member; within messages none is in capitals.
_TYPE = re.compile(rb'"type"\s*:\s*"[A-Z_]+"(?:\s*\}\s*(,))?')
_GUESSES = 4
SLICE = 1 << 16  # bytes that are decoded at once
LONG = 1 << 24  # bytes from which on what looks like one entry may be several without a type


class ExportSplitter(Generic[E]):
    """Takes an export of the platform in pieces and gives its `aguiEvents`, about SLICE bytes at a time.

    Where a slice of the array ends is guessed, then decoded: what reads as an array of its own is a number of whole
    entries. A wrong guess costs time, and memory until there is a right one; nothing else depends on it. Raises
    DecodeError for what is no JSON object, UnicodeDecodeError for what is read and not UTF-8; what lies behind the
    array is judged at the end. It has one member `aguiEvents`.

    With a `trail` only those entries are given that are not known of it, and it is told what has been read of an array
    of more than SLICE bytes; raises `Rewritten` where what is known has changed.
    """

    def __init__(self, decoder: EventDecoder[E], trail: PrefixHasher | None = None) -> None:
        self._decoder = decoder
        self._trail = trail
        self._coming: list[bytes] = []
        self._came = 0
        self._held: list[bytes | memoryview] = []
        self._size = self._enough = 0
        self._long = LONG
        self._inside = False
        self._unfinished = False

    def feed(self, piece: bytes) -> Iterator[EventBatch[E]]:
        """The entries that are complete with this piece of the text, which is read as far as the iteration goes."""
        self._coming.append(piece)
        self._came += len(piece)
        if self._came < SLICE:
            return
        text = b"".join(self._coming)
        self._coming, self._came = [], 0
        if not self._inside:
            text = self._begin(text)
        if self._inside and (news := self._batch(text)):
            yield from self._cut(news)
            yield from self._cut_anywhere()

    def finish(self) -> EventBatch[E]:
        """The last entries, since nothing follows."""
        coming = b"".join(self._coming)
        text = b"".join([*self._held, self._batch(coming) if self._inside else coming])
        if self._trail and self._trail.more is None:
            raise LogRewritten
        if self._unfinished and text.lstrip().startswith(b"]"):
            raise msgspec.DecodeError("no entry behind a comma")
        raws = _whole(_OPENING + text if self._inside else text)
        if self._trail and self._inside and raws:
            self._trail.add(text[: _end(text, raws)])
        return EventBatch(b"[%b]" % b",".join(raws), self._decoder)

    def _batch(self, text: bytes) -> bytes:
        """What is not known of the array's next bytes."""
        if self._trail and self._trail.more is None:
            text = self._trail.rest(text)
            self._unfinished = self._trail.more is True
        return text

    def _begin(self, text: bytes) -> bytes:
        """What the array begins with, if it does within all that has come."""
        self._hold(text)
        if self._size < self._enough:
            return b""
        text = b"".join(self._held)
        if end := _head(text):
            self._inside = True
            self._release()
            return text[end:]
        self._held, self._enough = [text], 2 * len(text)
        return b""

    def _cut(self, text: bytes) -> Iterator[EventBatch[E]]:
        """Whole entries, a slice at a time; what is behind them is held."""
        view, begin = memoryview(text), 0
        for start in range(0, len(text), SLICE):
            end, first = min(start + SLICE, len(text)), max(start, begin)
            size = self._size + end - begin
            if size < self._enough:
                continue
            commas: Iterable[int] = _commas(text, first, end)
            # What finds the end of a long entry leaves it by itself: its neighbours are to be read without it.
            for comma in islice(reversed([*commas]) if size > 2 * SLICE else commas, _GUESSES):
                if found := self._entries([*self._held, view[begin:comma]]):
                    self._release()
                    begin = comma + 1
                    yield found
                    break
                self._enough = 2 * size
        self._hold(view[begin:])

    def _cut_anywhere(self) -> Iterator[EventBatch[E]]:
        """Whole entries out of what is held, if that is a lot."""
        if self._size < self._long:
            return
        text = b"".join(self._held)
        self._held, self._long = [text], 2 * len(text)
        view = memoryview(text)
        for comma in islice(_any_commas(text), _GUESSES):
            if found := self._entries([view[:comma]]):
                self._release()
                self._hold(view[comma + 1 :])
                yield found
                return

    def _entries(self, parts: Iterable[bytes | memoryview]) -> EventBatch[E] | None:
        """The entries that these parts of the array are together; None if they are not whole."""
        try:
            found = EventBatch(b"".join([b"[", *parts, b"]"]), self._decoder)
        except UnicodeDecodeError:
            raise
        except UNREADABLE:
            return None
        self._unfinished = True
        if self._trail:
            self._trail.add(memoryview(found.array)[1:-1])
        return found

    def _hold(self, part: bytes | memoryview) -> None:
        self._held.append(part)
        self._size += len(part)

    def _release(self) -> None:
        self._held, self._size, self._enough, self._long = [], 0, 0, LONG


def _head(text: bytes) -> int:
    """Where the array's first entry begins; 0 if the array is not there yet."""
    for found in islice(_BEGIN.finditer(text), _GUESSES):
        with suppress(*UNREADABLE):
            if _export(text[: found.end()] + b"]}").events is not None:
                return found.end()
    return 0


def _commas(text: bytes, start: int, end: int) -> Iterator[int]:
    """Where an entry may end, told by the types of events, the last one first."""
    place = end
    while (place := text.rfind(_NAME, start, place)) >= 0:
        if found := _TYPE.match(text, place, end):
            comma = found.start(1) if found[1] else text.rfind(b"},", start, place) + 1
            if comma > 0:
                yield comma


def _end(text: bytes, raws: Iterable[msgspec.Raw]) -> int:
    """Where the last of these entries ends, with which the text begins."""
    end = 0
    for raw in raws:
        # Between entries there are commas and white space alone, so none is found too early.
        end = text.index(raw, end) + len(raw)
    return end


def _any_commas(text: bytes) -> Iterator[int]:
    """Where an entry may end, whatever it is."""
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
