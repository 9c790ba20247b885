"""Migrations of the session store, the same for each driver.

Servers go on while a newer one migrates their store, and may start again on it. So a migration only expands: it adds
tables, and columns that may be NULL or have a default. A later one removes what nothing uses any more: a
contraction. A revision is called `<number>_since_<oldest>`: servers whose own migrations end at `oldest` or later work
with its tables. An expansion has the `oldest` of the revision before; a contraction names that of the first server that
does without what it removes.
"""

import re
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, bindparam, func, select, text

from app.errors import NotReady, StorageUnavailable
from app.store.dialect import POSTGRESQL
from app.store.tables import INT64

_LOCK = 0x6D696772617465  # an advisory lock: one migration at a time
_LATER = re.compile(r"[0-9]{4}_since_([0-9]{4})")


def migration_config() -> Config:
    """Return Alembic's configuration, which needs a `connection` in its attributes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def migrate(engine: Engine) -> None:
    """Create or migrate the tables in one transaction; whoever opens a store does this first.

    The tables of a newer server stay as they are. Raises `StorageUnavailable` if they are of no use here.
    """
    revisions = _revisions()
    with engine.begin() as connection:
        if _revision(connection) == revisions.get_current_head():
            return  # without the lock, which a process that is suspended meanwhile would hold
        config = migration_config()
        if engine.dialect.name == POSTGRESQL:
            connection.execute(select(func.pg_advisory_xact_lock(bindparam("key", _LOCK, INT64))))
        config.attributes["connection"] = connection
        current = _revision(connection)
        if current is None or any(each.revision == current for each in revisions.walk_revisions()):
            command.upgrade(config, "head")
        elif not _is_usable(current, revisions.get_current_head() or ""):
            raise StorageUnavailable(
                f"The session store {engine.url.database} was written by another version of this server. Start that "
                "version, or move the store away to start with an empty one."
            )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def require_current(connection: Connection) -> None:
    """Raise `NotReady` if the tables are older than this server, as they are once an older copy is put back."""
    current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if current in _older_revisions():
        raise NotReady("The session store has the tables of an older version. Migrate it, or start the server again.")


@cache
def _revisions() -> ScriptDirectory:
    """Return the migrations, which are read once."""
    return ScriptDirectory.from_config(migration_config())


@cache
def _older_revisions() -> frozenset[str]:
    revisions = _revisions()
    return frozenset(each.revision for each in revisions.walk_revisions()) - {revisions.get_current_head()}


def _is_usable(later: str, head: str) -> bool:
    """Return whether a server with the revision `head` works with the tables of a later one."""
    found = _LATER.fullmatch(later)
    return found is not None and found[1] <= head[:4] < later[:4]
