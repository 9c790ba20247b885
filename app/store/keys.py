"""Access keys: 256 random bits for the client, a hash of them for the store; each bound to one project and a role."""

import datetime
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from sqlalchemy import Connection, Engine, Row, bindparam, insert, select, update

from app.agui.times import rfc3339
from app.clock import now_ms
from app.errors import Forbidden, NotFound, Unauthorized
from app.models.caller import Caller, Credentials, Role
from app.store.sqlite.database import migrate
from app.store.sqlite.engine import translate_errors, writing_engine
from app.store.sqlite.files import private_database
from app.store.statements import Statement
from app.store.tables import ACCESS_KEYS

PREFIX = "ak_"
_RANK = {Role.VIEW: 0, Role.EDIT: 1, Role.ADMIN: 2}


class KeyNotFound(NotFound):
    """Key not found."""

    code = "key_not_found"


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a key, without the key; times are RFC 3339."""

    id: str
    project: str
    role: Role
    name: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None


_COLUMNS = (
    ACCESS_KEYS.c.id,
    ACCESS_KEYS.c.project,
    ACCESS_KEYS.c.role,
    ACCESS_KEYS.c.name,
    ACCESS_KEYS.c.created_at,
    ACCESS_KEYS.c.expires_at,
    ACCESS_KEYS.c.revoked_at,
)
_FIND_BY_HASH = Statement(
    select(ACCESS_KEYS.c.project, ACCESS_KEYS.c.role, ACCESS_KEYS.c.expires_at, ACCESS_KEYS.c.revoked_at).where(
        ACCESS_KEYS.c.hash == bindparam("hash_")
    )
)


class KeyRing:
    """The keys of a store, for a command that has the file to itself or shares it with a running server."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    @contextmanager
    def open(cls, database: Path) -> Iterator[Self]:
        """The keys of the store in that file, which is made or migrated where need be."""
        private_database(database)
        engine = writing_engine(database)
        try:
            migrate(engine)
            yield cls(engine)
        finally:
            engine.dispose()

    def create(
        self, *, project: str, role: Role, name: str = "", expires: datetime.timedelta | None = None
    ) -> tuple[Key, str]:
        """A new key and its secret, which is shown here and never again."""
        with translate_errors(), self._engine.begin() as connection:
            return _create(connection, project, role, name, expires)

    def replace(self, *, project: str, role: Role, name: str) -> tuple[Key, str]:
        """A new key in place of all earlier ones of that name in the project, which are revoked."""
        with translate_errors(), self._engine.begin() as connection:
            namesakes = (
                ACCESS_KEYS.c.project == project,
                ACCESS_KEYS.c.name == name,
                ACCESS_KEYS.c.revoked_at.is_(None),
            )
            connection.execute(update(ACCESS_KEYS).where(*namesakes).values(revoked_at=now_ms()))
            return _create(connection, project, role, name, None)

    def list(self) -> list[Key]:
        """All keys that were ever made, oldest first."""
        with translate_errors(), self._engine.begin() as connection:
            rows = connection.execute(select(*_COLUMNS).order_by(ACCESS_KEYS.c.created_at, ACCESS_KEYS.c.id))
            return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """Make a key useless from now on; revoking it again changes nothing; `KeyNotFound`."""
        with translate_errors(), self._engine.begin() as connection:
            valid = update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id, ACCESS_KEYS.c.revoked_at.is_(None))
            connection.execute(valid.values(revoked_at=now_ms()))
            row = connection.execute(select(*_COLUMNS).where(ACCESS_KEYS.c.id == key_id)).one_or_none()
        if row is None:
            raise KeyNotFound
        return _key(row)


def verify(connection: Connection, credentials: Credentials, role: Role) -> Caller:
    """Who sends this token: in the key's project, unless the request names another.

    `Unauthorized` if the key is unknown, expired or revoked; `Forbidden` if it is another project's or its role is
    less than `role`. The key is looked up by its hash, so the time it takes tells nothing of the keys there are.
    """
    key = _FIND_BY_HASH(connection, hash_=_hash(credentials.token)).fetchone()
    if key is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    project, its_role, expires_at, revoked_at = key
    if revoked_at is not None or (expires_at is not None and expires_at <= now_ms()):
        raise Unauthorized("The token is unknown, expired or revoked.")
    if credentials.project not in {None, project}:
        raise Forbidden("The token is not for this project.")
    if _RANK[Role(its_role)] < _RANK[role]:
        raise Forbidden("The token's role does not permit this.")
    return Caller(token=credentials.token, project=project)


def _create(
    connection: Connection, project: str, role: Role, name: str, expires: datetime.timedelta | None
) -> tuple[Key, str]:
    secret = PREFIX + secrets.token_urlsafe(32)
    created_at = now_ms()
    row = {
        "id": f"key-{secrets.token_hex(6)}",
        "hash": _hash(secret),
        "project": project,
        "role": role,
        "name": name,
        "created_at": created_at,
        "expires_at": None if expires is None else created_at + expires // datetime.timedelta(milliseconds=1),
    }
    connection.execute(insert(ACCESS_KEYS), row)
    return _key(connection.execute(select(*_COLUMNS).where(ACCESS_KEYS.c.id == row["id"])).one()), secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Row[*tuple[Any, ...]]) -> Key:
    return Key(
        id=row.id,
        project=row.project,
        role=Role(row.role),
        name=row.name,
        created_at=rfc3339(row.created_at) or "",
        expires_at=rfc3339(row.expires_at),
        revoked_at=rfc3339(row.revoked_at),
    )
