"""Access keys. Each is for one project and has one role; the client has 256 random bits, the store only their hash."""

import datetime
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from app.clock import now_ms, rfc3339
from app.errors import Forbidden, NotFound, Unauthorized
from app.models.caller import Caller, Credentials, Role
from app.store.open import Transaction, open_transactions
from app.store.statements import Statement
from app.store.tables import ACCESS_KEYS

PREFIX = "ak_"
_RANK = {Role.VIEW: 0, Role.EDIT: 1, Role.ADMIN: 2}


class KeyNotFound(NotFound):
    """Key not found."""

    code = "key_not_found"


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as the list shows it, without the secret; times are RFC 3339."""

    id: str
    project: str
    role: Role
    name: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None


_COLUMNS = (
    ACCESS_KEYS.c.id,
    ACCESS_KEYS.c.project,
    ACCESS_KEYS.c.role,
    ACCESS_KEYS.c.name,
    ACCESS_KEYS.c.created_at,
    ACCESS_KEYS.c.expires_at,
    ACCESS_KEYS.c.revoked_at,
    ACCESS_KEYS.c.last_used_at,
)
_FIND_BY_HASH = Statement(
    select(
        ACCESS_KEYS.c.id, ACCESS_KEYS.c.project, ACCESS_KEYS.c.role, ACCESS_KEYS.c.expires_at, ACCESS_KEYS.c.revoked_at
    ).where(ACCESS_KEYS.c.hash == bindparam("hash_"))
)


class AccessKeys:
    """The keys of a store, for a command; a server may be using the store at the same time."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @classmethod
    @contextmanager
    def open(cls, store: str) -> Iterator[Self]:
        """Open the keys of the store with this URL, which is created or migrated first."""
        with open_transactions(store) as transaction:
            yield cls(transaction)

    def create(
        self, *, project: str, role: Role, name: str = "", expires: datetime.timedelta | None = None
    ) -> tuple[Key, str]:
        """Create a key; return it with its secret, which cannot be read again."""
        with self._transaction() as connection:
            return _create(connection, project, role, name, expires)

    def rotate(self, *, project: str, role: Role, name: str, overlap: datetime.timedelta) -> tuple[Key, str]:
        """Create a key like `create`; earlier keys of that name in the project expire after `overlap` at the latest."""
        end = now_ms() + overlap // datetime.timedelta(milliseconds=1)
        earlier = (
            ACCESS_KEYS.c.project == project,
            ACCESS_KEYS.c.name == name,
            or_(ACCESS_KEYS.c.expires_at.is_(None), ACCESS_KEYS.c.expires_at > end),
        )
        with self._transaction() as connection:
            connection.execute(update(ACCESS_KEYS).where(*earlier).values(expires_at=end))
            return _create(connection, project, role, name, None)

    def replace(
        self, key_id: str, *, overlap: datetime.timedelta, expires: datetime.timedelta | None = None
    ) -> tuple[Key, str]:
        """Create a key for the project, role and name of a valid one, which expires after `overlap` at the latest.

        Raises `KeyNotFound`, also for a key that is not valid any more.
        """
        now = now_ms()
        end = now + overlap // datetime.timedelta(milliseconds=1)
        is_valid = or_(ACCESS_KEYS.c.expires_at.is_(None), ACCESS_KEYS.c.expires_at > now)
        with self._transaction() as connection:
            found = select(*_COLUMNS).where(ACCESS_KEYS.c.id == key_id, ACCESS_KEYS.c.revoked_at.is_(None), is_valid)
            if (row := connection.execute(found).one_or_none()) is None:
                raise KeyNotFound
            if row.expires_at is None or row.expires_at > end:
                connection.execute(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id).values(expires_at=end))
            return _create(connection, row.project, Role(row.role), row.name, expires)

    def list(self) -> list[Key]:
        """Return all keys, oldest first, also expired and revoked ones."""
        with self._transaction() as connection:
            rows = connection.execute(select(*_COLUMNS).order_by(ACCESS_KEYS.c.created_at, ACCESS_KEYS.c.id))
            return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """Revoke a key with immediate effect; for a revoked key nothing changes. Raises `KeyNotFound`."""
        with self._transaction() as connection:
            valid = update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id, ACCESS_KEYS.c.revoked_at.is_(None))
            connection.execute(valid.values(revoked_at=now_ms()))
            row = connection.execute(select(*_COLUMNS).where(ACCESS_KEYS.c.id == key_id)).one_or_none()
        if row is None:
            raise KeyNotFound
        return _key(row)


def verify(connection: Connection, credentials: Credentials, role: Role) -> Caller:
    """Return the caller that sends this token, in the key's project.

    Raises `Unauthorized` if the key is unknown, expired or revoked, and `Forbidden` if the request names another
    project or the key's role is less than `role`. Keys are looked up by hash, so timing reveals nothing about them.
    """
    key = _FIND_BY_HASH(connection, hash_=_hash(credentials.token)).fetchone()
    if key is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    key_id, project, key_role, expires_at, revoked_at = key
    error: Unauthorized | Forbidden
    if revoked_at is not None or (expires_at is not None and expires_at <= now_ms()):
        error = Unauthorized("The token is unknown, expired or revoked.")
    elif credentials.project not in {None, project}:
        error = Forbidden("The token is not for this project.")
    elif _RANK[Role(key_role)] < _RANK[role]:
        error = Forbidden("The token's role does not permit this.")
    else:
        return Caller(token=credentials.token, project=project, key_id=key_id)
    error.caller, error.project = key_id, project
    raise error


def note_use(connection: Connection, key_id: str, used_at: int) -> None:
    """Store when a key was used last, in ms."""
    connection.execute(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id).values(last_used_at=used_at))


def identity(connection: Connection, token: str) -> Key:
    """Return the key with this secret; raise `Unauthorized` if there is none."""
    row = connection.execute(select(*_COLUMNS).where(ACCESS_KEYS.c.hash == _hash(token))).one_or_none()
    if row is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    return _key(row)


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
        last_used_at=rfc3339(row.last_used_at),
    )
