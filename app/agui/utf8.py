"""Whether bytes are text."""

import codecs

import msgspec

_PART = 1 << 14  # bytes that are decoded at once: as text, four times as many, they still fit the heap as it is

_decoder = codecs.getincrementaldecoder("utf-8")


def need_utf8(text: bytes | msgspec.Raw) -> None:
    """Raise UnicodeDecodeError if it is not UTF-8."""
    decoder, view = _decoder(), memoryview(text)
    for start in range(0, len(view), _PART):
        decoder.decode(view[start : start + _PART])
    decoder.decode(b"", final=True)
