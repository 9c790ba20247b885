"""SQL that SQLite and PostgreSQL spell differently: expressions that compile for either.

SQLite's spelling is the default, so only PostgreSQL's needs to name its dialect.
"""

from typing import Any

from sqlalchemy import Boolean, Connection, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

POSTGRESQL = "postgresql"


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row and return True, or change nothing and return False where one with the same key exists."""
    is_postgresql = connection.dialect.name == POSTGRESQL
    statement = (postgresql.insert(table) if is_postgresql else sqlite.insert(table)).on_conflict_do_nothing()
    # Not by the row count, which the driver of PostgreSQL does not tell of an insert.
    return connection.execute(statement.returning(*table.primary_key), row).first() is not None


class json_object(FunctionElement[str]):  # noqa: N801 - a function of SQL
    """The aggregate `json_object(key, value)`: one JSON object, as text, of the rows of a group."""

    type = Text()
    inherit_cache = True


@compiles(json_object)
def _json_object(element: json_object, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_object({compiler.process(element.clauses, **options)})"


@compiles(json_object, POSTGRESQL)
def _json_object_postgresql(element: json_object, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce(json_object_agg({compiler.process(element.clauses, **options)})::text, '{{}}')"


class contains(FunctionElement[bool]):  # noqa: N801 - a function of SQL
    """The predicate `contains(whole, part)` on text or bytes."""

    type = Boolean()
    inherit_cache = True


@compiles(contains)
def _contains(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)}) > 0"


@compiles(contains, POSTGRESQL)
def _contains_postgresql(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    whole, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"position({part} in {whole}) > 0"


class in_json_array(FunctionElement[bool]):  # noqa: N801 - a function of SQL
    """The predicate `in_json_array(number, array)`; the array is text.

    Unlike IN with a list of parameters it is the same SQL for every length, so a statement with it compiles once.
    """

    type = Boolean()
    inherit_cache = True


@compiles(in_json_array)
def _in_json_array(element: in_json_array, compiler: SQLCompiler, **options: Any) -> str:
    number, array = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{number} IN (SELECT value FROM json_each({array}))"  # noqa: S608 - SQL of compiled clauses


@compiles(in_json_array, POSTGRESQL)
def _in_json_array_postgresql(element: in_json_array, compiler: SQLCompiler, **options: Any) -> str:
    number, array = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{number} IN (SELECT value::bigint FROM json_array_elements_text({array}::json))"  # noqa: S608 - as above
