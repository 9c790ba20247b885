"""SQLAlchemy engines for SQLite files: durable, readable while they are written, with the errors of `app.errors`."""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError

from app.errors import ApiError, InternalError, StorageFull, StorageUnavailable

BUSY_TIMEOUT_MS = 5000
"""How long a transaction waits for a lock that another process holds."""
# With secure_delete=ON, which some builds have as the default, deleting a log would need as much space as the log has.
_PRAGMAS = (
    *("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=FAST"),
    f"journal_size_limit={8 << 20}",  # bytes; a journal that has grown larger shrinks when it is written anew
)
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}  # a full disk, and a quota or a limit of the file's size
_PRIMARY_CODE = 0xFF  # an extended result code has its primary code in the low byte


class _ErrorTranslation(AbstractContextManager[None]):
    """A class, because every request enters it several times, and a generator takes five times as long."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and (translation := translated(error)) is not error:
            raise translation


_TRANSLATION = _ErrorTranslation()


def translate_errors() -> AbstractContextManager[None]:
    """Raise `StorageUnavailable`, `StorageFull` or `InternalError` from an error of the driver."""
    return _TRANSLATION


def translated(error: Exception) -> Exception:
    """Return what `translate_errors` would raise in the place of an error, with the error as its cause."""
    if not isinstance(error, DBAPIError | sqlite3.Error):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _FULL:
        translation: ApiError = StorageFull()
    elif code & _PRIMARY_CODE in _UNAVAILABLE:
        translation = StorageUnavailable()
    else:
        translation = InternalError()
    translation.__cause__ = error
    return translation


def writing_engine(path: Path) -> Engine:
    """Return an engine for one writer: each transaction takes the file's write lock when it begins."""
    engine = _engine(path, pool_size=1, query_only=False)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reading_engine(path: Path, connections: int) -> Engine:
    """Return an engine whose transactions each see one state of the file and cannot change it."""
    engine = _engine(path, pool_size=connections, query_only=True)
    event.listen(engine, "begin", _begin)
    return engine


def _engine(path: Path, *, pool_size: int, query_only: bool) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        paramstyle="named",  # as `Statement` needs it
        hide_parameters=True,  # errors are logged, and values may be secrets
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the listeners begin transactions, the driver never does
        for pragma in (*_PRAGMAS, f"query_only={query_only:d}"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
