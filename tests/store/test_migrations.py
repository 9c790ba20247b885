"""Migrations: what they make, and what servers of other versions, which may be at work meanwhile, can rely on."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Engine, event, text

from app.errors import NotReady, StorageUnavailable
from app.store.migrate import migrate, migration_config, require_current
from app.store.open import sqlite_file
from app.store.postgres.engine import make_engine
from app.store.sqlite.engine import writing_engine
from app.store.tables import METADATA
from tests.support.store import empty_store_url

FIRST, *LATER = reversed(list(ScriptDirectory.from_config(migration_config()).walk_revisions()))
HEAD = (LATER or [FIRST])[-1].revision[:4]
NAME = re.compile(r"(?P<number>[0-9]{4})_since_(?P<oldest>[0-9]{4})")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A store without tables."""
    url = empty_store_url(tmp_path / "100%.db")
    file = sqlite_file(url)
    engine = writing_engine(file) if file else make_engine(url)
    yield engine
    engine.dispose()


def upgrade(engine: Engine, revision: str) -> list[str]:
    """Migrate to a revision and return the statements that did it."""
    config, statements = migration_config(), []
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        event.listen(connection, "before_cursor_execute", lambda *each: statements.append(each[2]))
        command.upgrade(config, revision)
    return statements


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_they_make_the_declared_tables_when_run_twice(engine: Engine) -> None:
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        made = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert [each for each in made if "procrastinate" not in str(each)] == []


def test_a_store_that_is_older_than_its_server_is_not_ready(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        require_current(connection)
    for revision in (FIRST.revision, "9999_since_0001"):
        set_revision(engine, revision)
        with engine.connect() as connection, pytest.raises(NotReady) if revision < HEAD else nullcontext():
            require_current(connection)


def test_they_only_expand_what_servers_that_may_be_at_work_use(engine: Engine) -> None:
    upgrade(engine, FIRST.revision)
    for before, revision in zip([FIRST, *LATER], LATER, strict=False):
        name = NAME.fullmatch(revision.revision)
        assert name, "see app/store/migrate.py"
        assert int(name["number"]) == int(before.revision[:4]) + 1
        statements = upgrade(engine, revision.revision)
        if name["oldest"] == oldest_of(before):
            made = set(re.findall(r"CREATE (?:UNLOGGED )?TABLE (\w+)", "\n".join(statements)))
            assert [each for each in statements if not expands(each.strip(), made)] == []


def oldest_of(revision: Script) -> str:
    name = NAME.fullmatch(revision.revision)
    return name["oldest"] if name else revision.revision[:4]


def expands(statement: str, made: set[str]) -> bool:
    """Whether a server that knows nothing of it goes on, and does not wait for long."""
    if added := re.fullmatch(r"ALTER TABLE \w+ ADD COLUMN (.+)", statement):
        return "NOT NULL" not in added[1] or "DEFAULT" in added[1]
    if index := re.match(r"CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", statement):
        return index[1] in made
    return bool(re.match(r"CREATE (?:UNLOGGED )?TABLE|SELECT|PRAGMA|UPDATE alembic_version SET", statement))


@pytest.mark.parametrize(
    ("statement", "is_expansion"),
    [
        ("CREATE TABLE new (n BIGINT)", True),
        ("CREATE INDEX by_n ON new (n)", True),
        ("ALTER TABLE sessions ADD COLUMN n BIGINT DEFAULT '0' NOT NULL", True),
        ("ALTER TABLE sessions ADD COLUMN n BIGINT NOT NULL", False),
        ("ALTER TABLE sessions DROP COLUMN n", False),
        ("ALTER TABLE sessions ALTER COLUMN n SET NOT NULL", False),
        ("CREATE INDEX by_n ON events (n)", False),
        ("UPDATE sessions SET n = 1", False),
        ("DROP TABLE runs", False),
    ],
)
def test_what_an_expansion_is(statement: str, *, is_expansion: bool) -> None:
    assert expands(statement, {"new"}) is is_expansion


def test_an_older_server_starts_on_the_tables_of_a_newer_one(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE sessions ADD COLUMN later BIGINT"))
    set_revision(engine, f"9999_since_{HEAD}")
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == f"9999_since_{HEAD}"


@pytest.mark.parametrize("revision", ["9999_since_9998", f"0000_since_{HEAD}", "0008", "a later one"])
def test_a_store_of_another_version_is_refused_with_what_to_do(engine: Engine, revision: str) -> None:
    migrate(engine)
    set_revision(engine, revision)
    with pytest.raises(StorageUnavailable, match="another version of this server") as refusal:
        migrate(engine)
    assert str(engine.url.database) in str(refusal.value)
