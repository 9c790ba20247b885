"""Cache of long logs that have been read, so that only what was appended since is decoded.

The platform always exports a log as a whole and gives it no version. So a cached result carries the size and hash of
the bytes that it was read from (`app.agui.prefix`): while the next export arrives, its beginning is hashed and passed
over, and decoding starts after it. If the hash differs, the log was rewritten and is read from its first event.

    export  [ event, event, event, event, event, event ]
              `---- hashed, passed over ----'  `-- decoded, fed to the cached view

There are two kinds of entries. A *view* is an object that was fed the whole log, such as the summaries of its runs.
*Checkpoints* are positions at which reading can start, for pages from the middle of a log. An entry is taken out of the
cache while it is in use, because reading on changes it: of two concurrent readers the second reads the whole log.
"""

import gc
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from sys import getsizeof
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

from app.agui.prefix import LogPrefix, LogRewritten, PrefixHasher
from app.backends.ambient.cursors import Cursor

V = TypeVar("V")

MIN_LOG_BYTES = 1 << 18
"""Shortest log that is cached: to decode a shorter one takes no longer than to hash it."""

_ENTRY_BYTES = 4096  # bytes that each entry counts for besides its content: bounds the number of small ones
_CHECKPOINT_BYTES = 250
_GROWTH = 1.125  # by which a log grows until the memory of its view is measured again


class Checkpoint(NamedTuple):
    """A cursor at which reading can start, the position of the last event before it, and the prefix that ends there.

    `missing` says whether a run that is looked for has no event up to there.
    """

    cursor: Cursor
    position: int
    missing: bool
    prefix: LogPrefix


class Checkpoints:
    """The checkpoints of one log in the order of their positions."""

    def __init__(self) -> None:
        self._checkpoints: list[Checkpoint] = []

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        return _CHECKPOINT_BYTES * len(self._checkpoints)

    def add(self, checkpoint: Checkpoint) -> None:
        """Append a checkpoint if it is after all others and spares enough decoding."""
        last = self._checkpoints[-1].position if self._checkpoints else -1
        if checkpoint.prefix.size >= MIN_LOG_BYTES and checkpoint.position > last:
            self._checkpoints.append(checkpoint)

    def before(self, cursor: Cursor) -> Checkpoint | None:
        """Return the last checkpoint from which every event after the cursor is found.

        Of the events after the cursor's last lasting one all are needed, since what was seen of them may be gone.
        """
        index = bisect_right(self._checkpoints, (cursor.lasting, 0), key=lambda each: each.cursor.short)
        return self._checkpoints[index - 1] if index else None

    def clear(self) -> None:
        """Drop all checkpoints: the log was rewritten."""
        self._checkpoints.clear()


class _View(NamedTuple):
    """A view, the prefix of the log that it was fed, and about how many bytes of memory it takes.

    They were measured when that prefix was of size `measured`.
    """

    value: Any
    prefix: LogPrefix | None = None
    size: int = 0
    measured: int = 0


class LogCache:
    """Views and checkpoints of long logs, in about `max_bytes` bytes of memory; 0 switches it off.

    The least recently used are dropped first. A key names the log and what is read of it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: LRUCache[Hashable, Any] = LRUCache(max_bytes, _entry_size)

    @asynccontextmanager
    async def view(
        self, key: Hashable, make: Callable[[], V], read: Callable[[V, PrefixHasher], Awaitable[None]]
    ) -> AsyncGenerator[V, None]:
        """Yield a view of the whole log, which nobody else has within the block.

        `make` returns an empty view. `read` feeds a view what the log has after the prefix that the hasher knows, or
        raises `LogRewritten`, before it has fed anything, if the log no longer begins with that.
        """
        view: _View = self._entries.pop(key, None) or _View(make())
        hasher = PrefixHasher(view.prefix)
        try:
            await read(view.value, hasher)
        except LogRewritten:
            view, hasher = _View(make()), PrefixHasher()
            await read(view.value, hasher)
        try:
            yield view.value
        finally:
            prefix = hasher.prefix
            if self._max_bytes and prefix and prefix.size >= MIN_LOG_BYTES:
                view = view._replace(prefix=prefix)
                if prefix.size >= _GROWTH * view.measured:
                    view = view._replace(size=memory_size(view.value), measured=prefix.size)
                self._put(key, view)

    @contextmanager
    def checkpoints(self, key: Hashable) -> Iterator[Checkpoints]:
        """Yield the checkpoints of a log, which nobody else has within the block; the block may add some."""
        checkpoints: Checkpoints = self._entries.pop(key, None) or Checkpoints()
        try:
            yield checkpoints
        finally:
            if checkpoints.size:
                self._put(key, checkpoints)

    def _put(self, key: Hashable, entry: _View | Checkpoints) -> None:
        if _entry_size(entry) <= self._max_bytes:
            self._entries[key] = entry


def _entry_size(entry: _View | Checkpoints) -> int:
    return _ENTRY_BYTES + entry.size


_LEAVES = frozenset({str, bytes, int, float, bool, type(None)})


def memory_size(root: object) -> int:
    """Return about how many bytes of memory an object takes together with all that it refers to.

    Classes and functions do not count, since they lead to the whole program. Strings and numbers count once for each
    reference, which is quicker than to look for duplicates.
    """
    size, seen, level = 0, {id(root)}, [root]
    while level:
        references = gc.get_referents(*level)
        leaves = [each for each in references if type(each) in _LEAVES]
        size += sum(map(getsizeof, level)) + sum(map(getsizeof, leaves))
        inner = {id(each): each for each in references if type(each) not in _LEAVES and not callable(each)}
        level = [each for key, each in inner.items() if key not in seen]
        seen |= inner.keys()
    return size
