"""Group commit: one thread owns the write connection, and one commit makes durable everything that waits."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

from app.errors import StorageUnavailable
from app.observability.metrics import Observe
from app.store.notifier import changed_sessions
from app.store.sqlite.engine import translate_errors
from app.store.statements import driver

P = ParamSpec("P")
T = TypeVar("T")
MAX_GROUP = 500
log = logging.getLogger(__name__)


class _Request(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: "asyncio.Future[Any]"


class Writer:
    """The only one in this process that changes the file; functions run in the order in which they were handed in.

    After each commit `ring` is called in the event loop with the sessions that have news.
    """

    def __init__(self, engine: Engine, observe: Observe, ring: Callable[[set[int]], None]) -> None:
        self._engine = engine
        self._observe = observe
        self._ring = ring
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Return the future value of `function(connection, *args, **kwargs)`, which is set once that is on disk.

        Each function runs in a savepoint of its own, so an error rolls back only that function. Cancelling the future
        does not cancel the function. If a group cannot be committed, its functions are run again one by one, so they
        must be safe to repeat. Raises `StorageUnavailable` after `close`.
        """
        if not self._open:
            raise StorageUnavailable
        result: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Request(function, args, kwargs, result))
        return result

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        if self._open:
            self._open = False
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        last = False
        while not last:
            group, last = self._take()
            if group:
                self._settle(group, *self._commit(group))

    def _take(self) -> tuple[list[_Request], bool]:
        """Everything that waits, at least one request, and whether the thread ends after it."""
        group: list[_Request] = []
        while (request := self._queue.get()) is not None:
            group.append(request)
            if len(group) == MAX_GROUP or self._queue.empty():
                return group, False
        return group, True

    def _commit(self, group: list[_Request]) -> tuple[list[Any], set[int]]:
        """What became of each function, its value or the exception that undid it; and the sessions that have news.

        A group that cannot be committed, since one of it does not fit on the disk perhaps, is committed one by one.
        """
        began = time.perf_counter()
        try:
            with translate_errors(), self._engine.begin() as connection:
                results = [self._run(connection, request) for request in group]
                news = changed_sessions(connection)
        except Exception as error:
            log.warning("a commit failed", exc_info=True)
            self._report("error", began)
            # A lock that others hold would be waited for by each request anew.
            if len(group) == 1 or isinstance(error, StorageUnavailable):
                return [error] * len(group), set()
            apart = [self._commit([request]) for request in group]
            return [result for [result], _ in apart], set().union(*(news for _, news in apart))
        self._report("ok", began)
        return results, news

    def _report(self, outcome: str, began: float) -> None:
        try:
            self._observe("commit", time.perf_counter() - began, outcome)
        except Exception:
            log.exception("a commit could not be measured")  # which must not end the thread

    def _run(self, connection: Connection, request: _Request) -> Any:
        execute = driver(connection).execute
        try:
            with translate_errors():
                execute("SAVEPOINT request")
                value = request.function(connection, *request.args, **request.kwargs)
                execute("RELEASE request")
        except Exception as error:
            if not _undone(connection):
                raise
            return error
        return value

    def _settle(self, group: list[_Request], results: list[Any], news: set[int]) -> None:
        try:
            if news:  # first: who has an answer must not find what others have read before
                self._loop.call_soon_threadsafe(self._ring, news)
            self._loop.call_soon_threadsafe(_answer, group, results)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("%d writes were committed after their loop had ended", len(group))


def _undone(connection: Connection) -> bool:
    """Undo one function; False if the error, such as a full disk, has ended the whole transaction."""
    try:
        driver(connection).execute("ROLLBACK TO request")
        driver(connection).execute("RELEASE request")
    except sqlite3.Error:
        return False
    return True


def _answer(group: list[_Request], results: list[Any]) -> None:
    for request, result in zip(group, results, strict=True):
        if request.result.done():
            continue
        if isinstance(result, Exception):
            request.result.set_exception(result)
        else:
            request.result.set_result(result)
