"""The statements and tables are SQL that PostgreSQL would understand as well."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

import app.store
from app.store.statements import RowLock, Statement
from app.store.tables import METADATA

SQLITE_ONLY = re.compile(r"json_group_object|json_each|instr|AUTOINCREMENT|WITHOUT ROWID")


def statements() -> dict[str, Statement | RowLock]:
    modules = [
        importlib.import_module(f"app.store.{module.name}") for module in pkgutil.iter_modules(app.store.__path__)
    ]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Statement | RowLock)
    }


def compiled(statement: Statement | RowLock, dialect: Dialect) -> str:
    text, _ = (statement._statement if isinstance(statement, RowLock) else statement)._compile(dialect)
    return text


@pytest.fixture
def postgres() -> Dialect:
    dialect: Any = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]
    assert isinstance(dialect, Dialect)
    return dialect


def test_each_statement_compiles_for_both_dialects(postgres: Dialect) -> None:
    sqlite = create_engine("sqlite://", paramstyle="named").dialect
    found = statements()
    assert len(found) > 20
    for name, statement in found.items():
        assert not SQLITE_ONLY.search(compiled(statement, postgres)), name
        assert "FOR UPDATE" not in compiled(statement, sqlite), name


def test_statements_that_lock_do_so_where_there_are_many_writers(postgres: Dialect) -> None:
    locking = {name for name, statement in statements().items() if "FOR UPDATE" in compiled(statement, postgres)}
    assert {name.rpartition(".")[2] for name in locking} == {"_IS_HELD", "_LOCK", "_LOCK_BY_ID"}


def test_numbers_have_64_bits_in_both_dialects(postgres: Dialect) -> None:
    for table in METADATA.sorted_tables:
        words = str(CreateTable(table).compile(dialect=postgres))
        assert not SQLITE_ONLY.search(words)
        narrow = [column.name for column in table.columns if f"{column.name} INTEGER" in words]
        assert narrow == (["priority"] if table.name == "runs" else [])
