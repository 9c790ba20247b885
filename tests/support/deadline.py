"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.02


def eventually(look: Callable[[], T], holds: Callable[[T], object] = bool, *, within: float = 20.0) -> T:
    """What `look` returns once `holds` is true of it; fails with the last sight after `within` seconds."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < end, f"not within {within} s; last seen: {seen!r}"
        time.sleep(INTERVAL)
