"""Copies a session store from a SQLite file into an empty PostgreSQL database, row by row, in one transaction.

Workers and rates belong to the servers of a database and are not copied, and leases end. Workspaces are files: a copied
session belongs to the disk that has them.
"""

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Connection, Table, func, literal, null, select, text

from app.errors import StorageUnavailable
from app.store.open import open_transactions, shown_url
from app.store.statements import driver
from app.store.tables import METADATA, RATES, WORKERS

if TYPE_CHECKING:
    import psycopg

ROWS_AT_ONCE = 16
"""As many rows are in memory at once; the largest are events, of several MB each."""
_TABLES = [table for table in METADATA.sorted_tables if table not in {RATES, WORKERS}]


def copy_store(source: str, target: str, disk: str) -> dict[str, int]:
    """Copy the store at one URL to another and return how many rows each table has; raises `StorageUnavailable`.

    `disk` is the id of the one that has the workspaces. A copy that fails leaves nothing behind.
    """
    with (
        open_transactions(source) as begin_source,
        open_transactions(target) as begin_target,
        begin_source() as reader,
        begin_target() as writer,
    ):
        _require_empty(writer, target)
        counts = {table.name: _copy_table(reader, writer, table, disk) for table in _TABLES}
        for table in _TABLES:
            if _count(reader, table) != counts[table.name] or _count(writer, table) != counts[table.name]:
                raise StorageUnavailable(f"The table {table.name} was not copied completely, so nothing was.")
            _continue_numbers(reader, writer, table)
    return counts


def _require_empty(writer: Connection, target: str) -> None:
    """Lock all tables against other writers, and refuse a store that has anything."""
    writer.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    writer.execute(text(f"LOCK TABLE {', '.join(table.name for table in _TABLES)} IN EXCLUSIVE MODE"))
    for table in _TABLES:
        if writer.execute(select(literal(1)).select_from(table).limit(1)).first():
            raise StorageUnavailable(f"{shown_url(target)} is not empty: its table {table.name} has rows.")


def _copy_table(reader: Connection, writer: Connection, table: Table, disk: str) -> int:
    own: dict[str, ColumnElement[Any]] = {"owner": null().label("owner"), "disk": literal(disk).label("disk")}
    rows = reader.execute(
        select(*(own.get(column.name, column) for column in table.columns)),
        execution_options={"yield_per": ROWS_AT_ONCE},
    )
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    connection = cast("psycopg.Connection[Any]", driver(writer))
    count = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for count, row in enumerate(rows, start=1):  # noqa: B007 - counts the rows
            copy.write_row(row)
    return count


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _continue_numbers(reader: Connection, writer: Connection, table: Table) -> None:
    """Have new rows numbered after all that the table has ever had, as far as the file knows."""
    column = table.autoincrement_column
    if column is None:
        return
    used = text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = :name")
    last = max(
        reader.execute(used, {"name": table.name}).scalar_one(),
        reader.execute(select(func.coalesce(func.max(column), 0))).scalar_one(),
    )
    if last:
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        writer.execute(select(func.setval(sequence, last)))
