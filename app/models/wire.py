"""The base of every value that is JSON on the wire, and a bound on values that come over it."""

from typing import Any

import msgspec


class WireModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of everything that is JSON on the wire."""


def depth_exceeds(value: Any, levels: int) -> bool:
    """Return whether objects and arrays are nested more than `levels` deep in a decoded JSON value."""
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(depth_exceeds(child, levels - 1) for child in children)
