"""Server-sent events from a byte stream, as the HTML standard reads them: only the data, byte for byte."""

from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 1024 * 1024


class EventTooLarge(ValueError):
    """An event, or a single line, is larger than the limit."""


class Decoder:
    """Takes chunks however they are cut, in linear time; lines end in LF, CRLF or CR.

    Of the libraries on the package index, each is tied to another HTTP client, decodes to text, or keeps an event
    of any size in memory.
    """

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of each event that this chunk completes; raise EventTooLarge."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        for line in chunk.splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            if self._size + len(self._line) + len(text) > self._limit:
                raise EventTooLarge
            self._line += text
            if len(text) < len(line):
                yield from self._end_line()
        self._after_cr = chunk.endswith(b"\r") or (self._after_cr and not chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield what the end of the stream left open: some servers leave out the last blank line."""
        yield from self._end_line()
        yield from self._end_event()

    def _end_line(self) -> Iterator[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            yield from self._end_event()
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value) + 1

    def _end_event(self) -> Iterator[bytes]:
        data = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        if data:
            yield data
