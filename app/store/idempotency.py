"""Responses by idempotency key: the same request takes effect once, and gets the first response again for a day.

A key is begun before its request takes effect and completed with the response. Where both happen in the transaction of
the effect, a crash leaves all or nothing. Where the effect is elsewhere, a crash in between leaves a key that is begun
for ever: nobody knows whether the request took effect.
"""

from typing import TypeVar

import msgspec
from sqlalchemy import Connection, delete, select, update

from app.clock import now_ms
from app.errors import IdempotencyKeyReused, IdempotencyOutcomeUnknown
from app.models.caller import IdempotencyKey
from app.models.wire import WireModel
from app.store.dialect import insert_new
from app.store.tables import IDEMPOTENCY_KEYS

M = TypeVar("M", bound=WireModel)
LIFETIME_MS = 24 * 60 * 60 * 1000


def begin(connection: Connection, request: IdempotencyKey, kind: type[M]) -> M | None:
    """Return the response to an earlier request with the same key, or store the key and return None if it is new.

    Raises `IdempotencyKeyReused` if the earlier request was another one, `IdempotencyOutcomeUnknown` if it was begun
    and never completed.
    """
    table = IDEMPOTENCY_KEYS
    connection.execute(delete(table).where(table.c.created_at <= now_ms() - LIFETIME_MS))
    query = select(table.c.fingerprint, table.c.response).where(table.c.key == request.key)
    first = connection.execute(query).one_or_none()
    if first is None:
        row = {"key": request.key, "fingerprint": request.fingerprint, "created_at": now_ms()}
        if insert_new(connection, table, row):
            return None
        first = connection.execute(query).one()  # another server has committed it meanwhile
    if first.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused
    if first.response is None:
        raise IdempotencyOutcomeUnknown
    return msgspec.json.decode(first.response, type=kind)


def is_known(connection: Connection, request: IdempotencyKey) -> bool:
    """Return whether there was a request with the same key, so that this one takes no effect."""
    query = select(IDEMPOTENCY_KEYS.c.key).where(
        IDEMPOTENCY_KEYS.c.key == request.key, IDEMPOTENCY_KEYS.c.created_at > now_ms() - LIFETIME_MS
    )
    return connection.execute(query).first() is not None


def complete(connection: Connection, request: IdempotencyKey, response: WireModel) -> None:
    """Store the response to a request that was begun."""
    by_key = update(IDEMPOTENCY_KEYS).where(IDEMPOTENCY_KEYS.c.key == request.key)
    connection.execute(by_key.values(response=msgspec.json.encode(response)))


def forget(connection: Connection, request: IdempotencyKey) -> None:
    """Delete the key of a request that was begun and has failed, so that it may be tried again."""
    connection.execute(delete(IDEMPOTENCY_KEYS).where(IDEMPOTENCY_KEYS.c.key == request.key))
