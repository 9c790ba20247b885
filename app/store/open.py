"""Opens the session store that a URL names; the only module that knows all drivers.

`sqlite:///<file>` is a file, which one server uses at a time. `postgresql://…` is a database.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from app.errors import StorageUnavailable
from app.observability.metrics import Observe
from app.store.migrate import migrate

if TYPE_CHECKING:
    from app.store.database import Database

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction that is committed at the end of the block; raises the errors of `Database`."""
SQLITE = "sqlite:///"


async def open_database(url: str, observe: Observe, *, shared: bool = False) -> "Database":
    """Open the store for a server, which is created or migrated first.

    `StorageUnavailable`, also for a file that another server uses, or that is to be `shared`.
    """
    path = sqlite_file(url)
    if path and shared:
        raise StorageUnavailable("Servers without a worker, and workers, need PostgreSQL: a file is for one server.")
    if path:
        from app.store.sqlite.database import SqliteDatabase  # noqa: PLC0415 - only the driver in use is imported

        return SqliteDatabase(path, observe)
    from app.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - as above

    database = PostgresDatabase(url, observe)
    try:
        await database.open()
    except BaseException:
        await database.close()
        raise
    return database


def ensure_unused(url: str) -> None:
    """Raise `StorageUnavailable` if a server uses a store that only one can use."""
    if path := sqlite_file(url):
        from app.store.sqlite.files import StoreLock  # noqa: PLC0415 - as above

        StoreLock(path).release()


@contextmanager
def open_transactions(url: str) -> Iterator[Transaction]:
    """Open the store for a command, which is created or migrated first; servers may be using it."""
    if path := sqlite_file(url):
        from app.store.sqlite.engine import translate_errors, writing_engine  # noqa: PLC0415 - as above
        from app.store.sqlite.files import create_private_database  # noqa: PLC0415 - as above

        create_private_database(path)
        engine = writing_engine(path)
    else:
        from app.store.postgres.engine import make_engine, translate_errors  # noqa: PLC0415 - as above

        engine = make_engine(url)

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with translate_errors(), engine.begin() as connection:
            yield connection

    try:
        with translate_errors():
            migrate(engine)
        yield transaction
    finally:
        engine.dispose()


def sqlite_file(url: str) -> Path | None:
    """Return the file that the URL names; None if it names a database of a server."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def shown_url(url: str) -> str:
    """Return the URL of a store as it may be shown: a file, or a URL without a password."""
    return str(sqlite_file(url) or make_url(url).render_as_string(hide_password=True))
