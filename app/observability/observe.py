"""How parts report their timings."""

from collections.abc import Callable

Observe = Callable[[str, float, str], None]
"""Told of every call: operation, seconds, and `ok`, `error`, `timeout`, `unavailable` or `cancelled`."""


"""Called with the operation, how many seconds it took and its outcome; from any thread."""
