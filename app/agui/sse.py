"""Server-sent events decoded from a byte stream by the rules of the HTML standard: their data alone, as bytes."""

from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 1024 * 1024


class EventTooLarge(ValueError):
    """An event, or a single line, is larger than the limit."""


class Decoder:
    """An incremental decoder, linear in time and bounded in memory; lines end in LF, CRLF or CR.

    The libraries on the package index are tied to another HTTP client, decode to text, or buffer an event of any size.
    """

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data = bytearray()  # of the event so far, a line feed after each line
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of each event that this chunk completes; raise `EventTooLarge`."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        for line in chunk.splitlines(keepends=True):
            content = line.rstrip(b"\r\n")
            if len(self._data) + len(self._line) + len(content) > self._limit:
                raise EventTooLarge
            self._line += content
            if len(content) < len(line):
                yield from self._end_line()
        self._after_cr = chunk.endswith(b"\r") or (self._after_cr and not chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield the data of an event that the end of the stream completes: some servers omit the last blank line."""
        yield from self._end_line()
        yield from self._end_event()

    def _end_line(self) -> Iterator[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            yield from self._end_event()
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data += value.removeprefix(b" ") + b"\n"

    def _end_event(self) -> Iterator[bytes]:
        data = bytes(self._data[:-1])
        self._data.clear()
        if data:
            yield data
