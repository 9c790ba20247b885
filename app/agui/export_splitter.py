"""Splits an export of the platform into batches of whole log entries while it arrives.

An export is one JSON object, `{"sessionId": …, "aguiEvents": [entry, entry, …], …}`, and its array may have hundreds of
megabytes. A parser that yields the elements of such an array follows every string, object and array in it, and none in
Python does so at more than 50 MB/s. This splitter follows nothing: it guesses where an entry ends, and the decoder that
has to read the entries anyway, at about 1 GB/s, confirms the guess. That makes it 20 times as fast.

    arrived   {"sessionId":"s","aguiEvents":[{"delta":"x","type":"A"},{"delta":"y","type":"B"},{"delta":"z","ty
                                             '-------------------------------------------------'^'--------------
                                                         decoded between [ and ]         guessed  held: may go on

**The guess.** In each SLICE bytes, take the last `"type":"SOME_NAME"` in capitals: only events have one. If a brace and
a comma follow it, that comma separates two entries; otherwise the last comma after a brace before it does.

**Why it is safe.** The text begins where an entry begins. If it reads as a JSON array once it is put between brackets,
it is some number of whole entries, and the comma after it is one between entries: a comma within an entry would leave a
string, an object or an array open, and the decoder would refuse. So a wrong guess never gives wrong entries. It costs
the time of decoding in vain, and after a few of them the text is held until twice as much has arrived. So the whole
export takes time linear in its size, and memory for its longest entry.
"""

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


_decode_export = msgspec.json.Decoder(_Export).decode

_ARRAY = re.compile(rb'"aguiEvents"\s*:\s*\[')
_HEAD = b'{"aguiEvents":['
_TYPE_KEY = b'"type"'
# The type of an event, and the comma after the event if the type is its last member. Types of messages are lower case.
_TYPE = re.compile(rb'"type"\s*:\s*"[A-Z_]+"(?:\s*\}\s*(,))?')
_END = b"},"
_GUESSES = 4  # that are tried for one slice
SLICE = 1 << 16  # bytes that are decoded at once: what is made of them stays in the processor's cache
LONG = 1 << 24  # bytes that may be one entry; of more than that any comma is tried, since events may lack a type


class ExportSplitter(Generic[E]):
    """Splitter for one export, which is fed piece by piece; each batch has about SLICE bytes or one longer entry.

    DecodeError if the export is not a JSON object, UnicodeDecodeError if a decoded part is not UTF-8. The bytes after
    the array are checked at the end. `aguiEvents` may occur once; null, missing or not a list, it has no entries.

    With a `hasher` that knows a prefix of the log, only the entries after it are decoded; LogRewritten if the log does
    not begin with it any more. The hasher is also fed what is decoded, except of an export that is shorter than SLICE.
    """

    def __init__(self, decoder: EventDecoder[E], hasher: PrefixHasher | None = None) -> None:
        self._decoder = decoder
        self._hasher = hasher
        self._incoming: list[bytes] = []  # pieces that are too short to look at
        self._incoming_size = 0
        self._held: list[bytes | memoryview] = []  # whole text that has been looked at and not been decoded
        self._held_size = 0
        self._retry_size = 0  # how much of it there has to be for the next guess
        self._long = LONG
        self._in_array = False
        self._after_comma = False

    def feed(self, piece: bytes) -> Iterator[EventBatch[E]]:
        """Yield the entries that are complete with this piece, which is read as far as the iteration goes."""
        self._incoming.append(piece)
        self._incoming_size += len(piece)
        if self._incoming_size < SLICE:
            return
        text = b"".join(self._incoming)
        self._incoming, self._incoming_size = [], 0
        if not self._in_array:
            text = self._find_array(text)
        if self._in_array and (unread := self._skip_known(text)):
            yield from self._split(unread)
            yield from self._split_anywhere()

    def finish(self) -> EventBatch[E]:
        """Return the last entries: the export is complete."""
        incoming = b"".join(self._incoming)
        text = b"".join([*self._held, self._skip_known(incoming) if self._in_array else incoming])
        if self._hasher and self._hasher.more is None:
            raise LogRewritten
        if self._after_comma and text.lstrip().startswith(b"]"):
            raise msgspec.DecodeError("no entry after a comma")
        raws = _all_entries(_HEAD + text if self._in_array else text)
        if self._hasher and self._in_array and raws:
            self._hasher.add(text[: _end_of(raws, text)])
        return EventBatch(b"[%b]" % b",".join(raws), self._decoder)

    def _find_array(self, text: bytes) -> bytes:
        """Return the text of the array that has arrived, which is none until its beginning is found."""
        self._hold(text)
        if self._held_size < self._retry_size:
            return b""
        text = b"".join(self._held)
        if start := _array_start(text):
            self._in_array = True
            self._release()
            return text[start:]
        self._held, self._retry_size = [text], 2 * len(text)
        return b""

    def _skip_known(self, text: bytes) -> bytes:
        """Return the next text of the array without what belongs to the known prefix."""
        if self._hasher and self._hasher.more is None:
            text = self._hasher.skip_known(text)
            self._after_comma = self._hasher.more is True
        return text

    def _split(self, text: bytes) -> Iterator[EventBatch[E]]:
        """Yield batches of the held and this text, and hold what comes after them."""
        view, begin = memoryview(text), 0
        for start in range(0, len(text), SLICE):
            end = min(start + SLICE, len(text))
            size = self._held_size + end - begin
            if size < self._retry_size:
                continue
            guesses: Iterable[int] = _likely_ends(text, max(start, begin), end)
            if size > 2 * SLICE:  # a long entry: its end is the first one in this slice, and it is decoded by itself
                guesses = reversed([*guesses])
            for comma in islice(guesses, _GUESSES):
                if batch := self._confirm([*self._held, view[begin:comma]]):
                    self._release()
                    begin = comma + 1
                    yield batch
                    break
                self._retry_size = 2 * size
        self._hold(view[begin:])

    def _split_anywhere(self) -> Iterator[EventBatch[E]]:
        """Yield a batch of what is held if that is long, whatever the entries look like."""
        if self._held_size < self._long:
            return
        text = b"".join(self._held)
        self._held, self._long = [text], 2 * len(text)
        view = memoryview(text)
        for comma in islice(_possible_ends(text), _GUESSES):
            if batch := self._confirm([view[:comma]]):
                self._release()
                self._hold(view[comma + 1 :])
                yield batch
                return

    def _confirm(self, parts: Iterable[bytes | memoryview]) -> EventBatch[E] | None:
        """Return the entries that these parts of the array are together, or None if they are not whole entries."""
        try:
            batch = EventBatch(b"".join([b"[", *parts, b"]"]), self._decoder)
        except UnicodeDecodeError:
            raise
        except UNREADABLE:
            return None
        self._after_comma = True
        if self._hasher:
            self._hasher.add(memoryview(batch.array)[1:-1])
        return batch

    def _hold(self, part: bytes | memoryview) -> None:
        self._held.append(part)
        self._held_size += len(part)

    def _release(self) -> None:
        self._held, self._held_size, self._retry_size, self._long = [], 0, 0, LONG


def _array_start(text: bytes) -> int:
    """Return where the first entry of the array begins, or 0 if the array has not begun."""
    for found in islice(_ARRAY.finditer(text), _GUESSES):
        with suppress(*UNREADABLE):
            if _decode_export(text[: found.end()] + b"]}").events is not None:
                return found.end()
    return 0


def _likely_ends(text: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the commas that probably separate two entries between start and end, the last one first."""
    place = brace = end
    while (place := text.rfind(_TYPE_KEY, start, place)) >= 0:
        if not (found := _TYPE.match(text, place, end)):
            continue
        if found[1]:
            yield found.start(1)
        elif brace > place:  # or else it has been found already: no byte is searched twice
            brace = text.rfind(_END, start, place)
            if brace >= 0:
                yield brace + 1


def _possible_ends(text: bytes) -> Iterator[int]:
    """Yield commas after a brace, the last one first and each in the first half of what comes before the one before."""
    place = len(text)
    while (place := text.rfind(_END, 0, place)) >= 0:
        yield place + 1
        place //= 2


def _end_of(raws: Iterable[msgspec.Raw], text: bytes) -> int:
    """Return where the last of these entries ends, with which the text begins."""
    end = 0
    for raw in raws:
        # Only commas and white space are between entries, so each is found where it is and not earlier.
        end = text.index(raw, end) + len(raw)
    return end


def _all_entries(text: bytes) -> list[msgspec.Raw]:
    """Return the entries of a whole export."""
    try:
        return _decode_export(text).events or []
    except msgspec.ValidationError:
        if not isinstance(msgspec.json.decode(text), dict):
            raise
    return []
