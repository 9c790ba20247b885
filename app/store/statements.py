"""SQL statements that are compiled once and then run by the driver itself.

To execute a statement through SQLAlchemy costs ten times what SQLite takes for a look-up. Those that nearly every
request or run executes are therefore `Statement`s; all others go through SQLAlchemy, which costs less to read.
"""

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Insert, Select, Update
from sqlalchemy.engine import Connection, Dialect

if TYPE_CHECKING:
    import sqlite3

_ONE_WRITER = "sqlite"


class Statement:
    """A statement that is compiled on its first use for the dialect of the connection.

    The dialect's parameters have to be named ones. Values are the driver's own on the way in and out: nothing is
    converted, and rows are plain tuples.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]] | Insert | Update) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def __call__(self, connection: Connection, **values: Any) -> "sqlite3.Cursor":
        """Execute it, within the connection's transaction if there is one."""
        dialect = connection.dialect
        text, literals = self._compiled.get(dialect.name) or self._compile(dialect)
        return driver(connection).execute(text, {**literals, **values})

    def execute_many(self, connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """Execute it once for each of these sets of values."""
        dialect = connection.dialect
        text, _ = self._compiled.get(dialect.name) or self._compile(dialect)
        with closing(driver(connection).cursor()) as cursor:
            cursor.executemany(text, rows)

    def _compile(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """Return the text, with parameters by name, and the values of those that are literals of the statement."""
        compiled = self._statement.compile(dialect=dialect)
        # A parameter that is bound at execution is None here. An enum's member has to become the text that it is.
        literals = {name: str(value) if isinstance(value, str) else value for name, value in compiled.params.items()}
        self._compiled[dialect.name] = str(compiled), literals
        return self._compiled[dialect.name]


class RowLock:
    """A statement that locks the rows that it selects, where a database has many writers.

    It reads nothing: while it waits for the lock other tables change, and what the same statement returned of them
    would be from before. So the reads of a command follow as statements of their own.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = Statement(statement.with_for_update())

    def __call__(self, connection: Connection, **values: Any) -> None:
        """Wait until the rows are locked, until the end of the transaction; nothing where there is one writer."""
        if connection.dialect.name != _ONE_WRITER:
            self._statement(connection, **values)


def driver(connection: Connection) -> "sqlite3.Connection":
    """Return the driver's own connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)
