"""What long logs have told, kept for whoever asks again."""

from bisect import bisect_right
from collections.abc import Hashable
from operator import attrgetter
from typing import Generic, NamedTuple, Protocol, TypeVar

from cachetools import LRUCache

from app.agui.prefix import LogPrefix

LONG_LOG = 1 << 18
"""Bytes of a log from which on it is worth it: what is shorter is read again as quickly."""

_LEAST = 4096  # bytes that anything counts for, so that there are not too many


class Sized(Protocol):
    """What knows how large it is."""

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""


S = TypeVar("S")
T = TypeVar("T", bound=Sized)


class CachedLog(NamedTuple, Generic[S]):
    """What a log has told, the part of it that has, and about how many bytes of memory it takes."""

    told: S
    prefix: LogPrefix
    size: int


class Checkpoint(NamedTuple):
    """A place between the entries of a log: the position of the last event before it, and the part that ends there.

    `missing` says that a run is looked for and not seen before it.
    """

    end: int
    missing: bool
    prefix: LogPrefix


class Checkpoints:
    """Places of a log where its reading can begin, if any are worth it."""

    def __init__(self) -> None:
        self._places: list[Checkpoint] = []

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 250 * len(self._places)

    def add(self, place: Checkpoint) -> None:
        """Remember a place behind all others."""
        if place.prefix.size >= LONG_LOG and (not self._places or place.end > self._places[-1].end):
            self._places.append(place)

    def before(self, after: int) -> Checkpoint | None:
        """The last one from which all events behind that position are found."""
        index = bisect_right(self._places, after, key=attrgetter("end"))
        return self._places[index - 1] if index else None


class LogCache(Generic[T]):
    """What was told last, by what was asked, in about so many bytes of memory."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._told: LRUCache[Hashable, T] = LRUCache(memory, _size)

    def pop(self, asked: Hashable) -> T | None:
        """Hand it over: what changes as it is read on is nobody else's meanwhile."""
        return self._told.pop(asked, None)

    def put(self, asked: Hashable, told: T) -> None:
        """Keep it, unless it is larger than all that can be kept."""
        if _size(told) <= self._memory:
            self._told[asked] = told


def _size(told: Sized) -> int:
    return _LEAST + told.size
