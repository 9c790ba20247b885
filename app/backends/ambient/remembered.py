"""What long logs have told, kept for whoever asks again."""

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from cachetools import LRUCache

from app.agui.trail import Prefix

LONG = 1 << 18
"""Bytes of a log that is worth it: a shorter one is read again as quickly."""

_MEMORY = 1 << 26  # bytes for what was asked for last


class Sized(Protocol):
    """What knows how large it is."""

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""


T = TypeVar("T", bound=Sized)


class Remembered(Generic[T]):
    """What logs have told by what was asked, each with the part of the log that it is from."""

    def __init__(self) -> None:
        self._told: LRUCache[Hashable, tuple[T, Prefix]] = LRUCache(_MEMORY, lambda item: item[0].size)

    def take(self, asked: Hashable) -> tuple[T, Prefix] | None:
        """Hand it over: what changes as it is read on is nobody else's meanwhile."""
        return self._told.pop(asked, None)

    def put(self, asked: Hashable, told: T, prefix: Prefix | None) -> None:
        """Keep it, if it is worth it."""
        if prefix and prefix.size >= LONG and told.size <= _MEMORY:
            self._told[asked] = told, prefix
