"""Wait for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.02
WITHIN = 60.0
"""How many seconds to wait by default: more than anything takes on a machine that is busy with other things."""


def eventually(look: Callable[[], T], holds: Callable[[T], object] = bool, *, within: float | None = None) -> T:
    """Return what `look` returns once `holds` is true of it; fail with its last result after `within` seconds."""
    within = WITHIN if within is None else within
    end = time.monotonic() + within
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < end, f"not within {within} s; last seen: {seen!r}"
        time.sleep(INTERVAL)
