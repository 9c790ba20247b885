"""Responses by idempotency key, each stored in the transaction that makes what it describes."""

from typing import TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select

from app.clock import now_ms
from app.errors import IdempotencyKeyReused
from app.models.caller import IdempotencyKey
from app.models.wire import WireModel
from app.store.tables import ANSWERS

M = TypeVar("M", bound=WireModel)
LIFETIME_MS = 24 * 60 * 60 * 1000


def find(connection: Connection, request: IdempotencyKey, kind: type[M]) -> M | None:
    """Return the response to an earlier request with the same key, None if there is none; `IdempotencyKeyReused`."""
    connection.execute(delete(ANSWERS).where(ANSWERS.c.kept_at <= now_ms() - LIFETIME_MS))
    query = select(ANSWERS.c.fingerprint, ANSWERS.c.answer).where(ANSWERS.c.key == request.key)
    first = connection.execute(query).one_or_none()
    if first and first.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused
    return first and msgspec.json.decode(first.answer, type=kind)


def save(connection: Connection, request: IdempotencyKey, response: WireModel) -> None:
    """Store the response to a request, in the transaction of its effect."""
    connection.execute(
        insert(ANSWERS),
        {
            "key": request.key,
            "fingerprint": request.fingerprint,
            "answer": msgspec.json.encode(response),
            "kept_at": now_ms(),
        },
    )
