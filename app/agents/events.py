"""AG-UI events as our own agents write them."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def event(type_: str, **fields: Any) -> bytes:
    """One event as JSON; a field that is None is left out, for the official client refuses a null."""
    return _encode({"type": type_, **{name: value for name, value in fields.items() if value is not None}})
