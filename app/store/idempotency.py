"""Responses by idempotency key, each stored in the transaction that makes what it describes."""

from typing import TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select

from app.clock import now_ms
from app.errors import IdempotencyKeyReused
from app.models.caller import IdempotencyKey
from app.models.wire import WireModel
from app.store.tables import IDEMPOTENCY_KEYS

M = TypeVar("M", bound=WireModel)
LIFETIME_MS = 24 * 60 * 60 * 1000


def find(connection: Connection, request: IdempotencyKey, kind: type[M]) -> M | None:
    """Return the response to an earlier request with the same key, None if there is none; `IdempotencyKeyReused`."""
    table = IDEMPOTENCY_KEYS
    connection.execute(delete(table).where(table.c.created_at <= now_ms() - LIFETIME_MS))
    query = select(table.c.fingerprint, table.c.response).where(table.c.key == request.key)
    first = connection.execute(query).one_or_none()
    if first and first.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused
    return first and msgspec.json.decode(first.response, type=kind)


def save(connection: Connection, request: IdempotencyKey, response: WireModel) -> None:
    """Store the response to a request, in the transaction of its effect."""
    connection.execute(
        insert(IDEMPOTENCY_KEYS),
        {
            "key": request.key,
            "fingerprint": request.fingerprint,
            "response": msgspec.json.encode(response),
            "created_at": now_ms(),
        },
    )
