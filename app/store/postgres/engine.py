"""Connections to a PostgreSQL database, with the errors of `app.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.types.string import StrDumper
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from app.errors import InternalError, StorageFull, StorageUnavailable
from app.store.liveness import LIVENESS, PROCESS, connection_name

# A process that is suspended within a transaction holds its locks no longer than that.
_PARAMETERS: dict[str, str | int] = {
    **LIVENESS,
    "application_name": connection_name(PROCESS),
    "options": "-c idle_in_transaction_session_timeout=10s",
}
LOST = (psycopg.OperationalError, psycopg.InterfaceError, errors.IdleInTransactionSessionTimeout)
"""Errors after which a connection is replaced."""
_UNAVAILABLE = (*LOST, errors.ReadOnlySqlTransaction)


class _TextDumper(StrDumper):
    """Dumps text without NUL, which an agent may write and no text of PostgreSQL may hold."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `StorageUnavailable`, `StorageFull` or `InternalError` from an error of the driver."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, errors.DiskFull):
            raise StorageFull from error
        if isinstance(cause, _UNAVAILABLE):
            raise StorageUnavailable from error
        raise InternalError from error


def make_engine(url: str) -> Engine:
    """Return an engine for a URL `postgresql://…`; whoever connects owns the connection, there is no pool."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,  # errors are logged, and values may be secrets
        connect_args=dict(_PARAMETERS),
    )
    event.listen(engine, "connect", _configure)
    return engine


async def connect_async(url: str, purpose: str) -> "psycopg.AsyncConnection[Any]":
    """Return a connection for the event loop, each statement of which is a transaction; raises `psycopg.Error`."""
    parameters: dict[str, Any] = {**_PARAMETERS, "application_name": f"ambient-api {purpose}"}
    return await psycopg.AsyncConnection.connect(url, autocommit=True, **parameters)


def _configure(connection: "psycopg.Connection[Any]", _record: Any) -> None:
    connection.adapters.register_dumper(str, _TextDumper)
