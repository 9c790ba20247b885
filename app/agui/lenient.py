"""Typed reading of untrusted JSON: a value of the wrong type counts as absent and is never an error."""

import codecs
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

Json = msgspec.Raw | bytes
UNREADABLE = (ValueError, RecursionError)  # msgspec's own errors and bad UTF-8 are ValueErrors

# An escaped surrogate pair, an escaped surrogate without its other half (in a group), any other escape.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)


def reader(kind: Any) -> Callable[[Json], Any]:
    r"""Return a function that decodes one JSON value as `kind`, or returns None if it is not of that type.

    An unpaired surrogate (`"\ud83d"`, which is left of an emoji that was split) reads as U+FFFD, and so do bytes that
    are not UTF-8: neither is a character, and msgspec rejects the whole document.
    """
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: Json) -> Any:
        if not raw:  # an absent member, which is the most frequent case
            return None
        try:
            return decode(raw)
        except msgspec.ValidationError:
            return None
        except UNREADABLE:
            pass
        try:
            return decode(_ESCAPE.sub(_replace_unpaired, bytes(raw).decode(errors="replace").encode()))
        except UNREADABLE:
            return None

    return read


def _replace_unpaired(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


_members: Callable[[Json], dict[str, msgspec.Raw] | None] = reader(dict[str, msgspec.Raw])
_plain: Callable[[Json], object] = reader(Any)


def members(raw: Json) -> dict[str, msgspec.Raw] | None:
    """Return the members of a JSON object, values byte for byte, or None if `raw` is not a JSON object."""
    return _members(raw)


def plain(read: Callable[[object], Any]) -> Callable[[Json], Any]:
    """Return `read` for JSON: it gets the decoded value."""
    return lambda raw: read(_plain(raw))


class Lenient(Generic[T]):
    """Decoder of JSON objects as `struct`, all of whose fields have defaults.

    The common case takes one typed decode. If that fails, each member is decoded by itself, and one of another type
    than its field keeps the default. `readers`, by field name, are called with such a member and return the value.
    """

    def __init__(self, struct: type[T], **readers: Callable[[Json], Any]) -> None:
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode
        self._fields = [
            (field.encode_name, field.name, msgspec.json.Decoder(field.type).decode, readers.get(field.name))
            for field in msgspec.structs.fields(struct)
        ]

    def __call__(self, raw: Json) -> T | None:
        """Return the object, or None if `raw` is not a JSON object."""
        if not raw:
            return None
        try:
            return self._decode(raw)
        except UNREADABLE:
            return self._piecewise(raw)

    def _piecewise(self, raw: Json) -> T | None:
        values = members(raw)
        if values is None:
            return None
        struct = self._struct()
        for key, name, decode, read in self._fields:
            if (value := values.get(key)) is None:
                continue
            try:
                setattr(struct, name, decode(value))
            except UNREADABLE:
                if read is not None:
                    setattr(struct, name, read(value))
        return struct


_PART = 1 << 14  # bytes that are decoded in one call: as text they may take four times as much memory

_decoder = codecs.getincrementaldecoder("utf-8")


def require_utf8(text: bytes | msgspec.Raw) -> None:
    """Raise UnicodeDecodeError if the bytes are not UTF-8."""
    decoder, view = _decoder(), memoryview(text)
    for start in range(0, len(view), _PART):
        decoder.decode(view[start : start + _PART])
    decoder.decode(b"", final=True)
