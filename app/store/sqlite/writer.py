"""Group commit: one thread owns the write connection and commits together what waits.

SQLite has one writer at a time, and a durable commit costs a flush of the disk, so the functions that arrive while one
group is committed become the next group:

    event loop                     writer thread
    submit(f) ─┐                   BEGIN IMMEDIATE
    submit(g) ─┼─ queue ─ group →  SAVEPOINT; f(connection); RELEASE
    submit(h) ─┘                   SAVEPOINT; g(connection) fails; ROLLBACK TO
                                   SAVEPOINT; h(connection); RELEASE
                                   COMMIT, which is on disk when it returns
    notify(changed sessions)  ←──
    set the futures' results  ←──

A savepoint of its own makes each function's error undo that function alone. An error that ends the whole transaction,
such as a full disk, undoes the group; its functions are then run again one by one, so that a single one that does not
fit fails by itself.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from app.errors import StorageUnavailable
from app.observability.metrics import Observe
from app.store.notifier import changed_sessions
from app.store.sqlite.engine import translated
from app.store.statements import driver

P = ParamSpec("P")
T = TypeVar("T")
MAX_GROUP = 500
log = structlog.get_logger()


class _Request(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: "asyncio.Future[Any]"


class Writer:
    """The only part of the process that changes the file; functions run in the order in which they are submitted.

    After each commit `notify` is called in the event loop with the row ids of the sessions that it has changed.
    """

    def __init__(self, engine: Engine, observe: Observe, notify: Callable[[set[int]], None]) -> None:
        self._engine = engine
        self._observe = observe
        self._notify = notify
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Return the future value of `function(connection, *args, **kwargs)`, which is set once that is on disk.

        Cancelling the future does not cancel the function. Raises `StorageUnavailable` after `close`.
        """
        if not self._is_open:
            raise StorageUnavailable
        result: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Request(function, args, kwargs, result))
        return result

    async def close(self) -> None:
        """Commit what was submitted, then end the thread."""
        if self._is_open:
            self._is_open = False
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # In the thread

    def _run(self) -> None:
        is_last = False
        while not is_last:
            group, is_last = self._next_group()
            if group:
                self._publish(group, *self._commit(group))

    def _next_group(self) -> tuple[list[_Request], bool]:
        """Wait for requests; return all that there are, and whether the thread ends after them."""
        group: list[_Request] = []
        while (request := self._queue.get()) is not None:
            group.append(request)
            if len(group) == MAX_GROUP or self._queue.empty():
                return group, False
        return group, True

    def _commit(self, group: list[_Request]) -> tuple[list[Any], set[int]]:
        """Return each function's value, or the exception that undid it, and the sessions that have changed."""
        started = time.perf_counter()
        try:
            with self._engine.begin() as connection:
                results = [_call(connection, request) for request in group]
                changed = changed_sessions(connection)
        except Exception as error:
            log.warning("commit_failed", writes=len(group), exc_info=True)
            self._measure("error", started)
            failure = translated(error)
            # One by one, the requests would wait in turn for a lock that another process holds.
            if len(group) == 1 or isinstance(failure, StorageUnavailable):
                return [failure] * len(group), set()
            commits = [self._commit([request]) for request in group]
            return [result for [result], _ in commits], set().union(*(changed for _, changed in commits))
        self._measure("ok", started)
        return results, changed

    def _measure(self, outcome: str, started: float) -> None:
        try:
            self._observe("commit", time.perf_counter() - started, outcome)
        except Exception:
            log.exception("commit_not_measured")  # and the thread goes on

    def _publish(self, group: list[_Request], results: list[Any], changed: set[int]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, group, results, changed)
        except RuntimeError:  # the loop is closed
            log.warning("commit_after_loop_closed", writes=len(group))

    def _deliver(self, group: list[_Request], results: list[Any], changed: set[int]) -> None:
        if changed:  # before the results, so that nobody who has one finds a shared read from before the commit
            self._notify(changed)
        _set_results(group, results)


def _call(connection: Connection, request: _Request) -> Any:
    """Return the function's value, or the exception that undid it; raise one that ended the whole transaction."""
    execute = driver(connection).execute
    try:
        execute("SAVEPOINT request")
        value = request.function(connection, *request.args, **request.kwargs)
        execute("RELEASE request")
    except Exception as error:
        if not _undo(connection):
            raise
        return translated(error)
    return value


def _undo(connection: Connection) -> bool:
    """Undo one function; return False if its error has ended the whole transaction."""
    try:
        driver(connection).execute("ROLLBACK TO request")
        driver(connection).execute("RELEASE request")
    except sqlite3.Error:
        return False
    return True


def _set_results(group: list[_Request], results: list[Any]) -> None:
    for request, result in zip(group, results, strict=True):
        if request.result.done():  # cancelled
            continue
        if isinstance(result, Exception):
            request.result.set_exception(result)
        else:
            request.result.set_result(result)
