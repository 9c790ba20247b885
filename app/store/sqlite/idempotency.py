"""Idempotency keys in a SQLite file of their own, for a backend whose sessions are elsewhere."""

from pathlib import Path
from typing import TypeVar

from app.errors import StorageUnavailable
from app.models.caller import IdempotencyKey
from app.models.wire import WireModel
from app.store import idempotency
from app.store.sqlite.engine import translate_errors, writing_engine
from app.store.sqlite.files import create_private_database
from app.store.tables import IDEMPOTENCY_KEYS

M = TypeVar("M", bound=WireModel)


class IdempotencyFile:
    """The open file, to be used by one thread at a time; each method is one durable transaction.

    `StorageUnavailable`, `StorageFull` from all of them, besides the errors of `app.store.idempotency`.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, which is created if need be and which only its owner can read."""
        try:
            create_private_database(path)
        except OSError as error:
            raise StorageUnavailable from error
        self._engine = writing_engine(path)
        with translate_errors():
            IDEMPOTENCY_KEYS.create(self._engine, checkfirst=True)

    def begin(self, request: IdempotencyKey, kind: type[M]) -> M | None:
        """See `idempotency.begin`."""
        with translate_errors(), self._engine.begin() as connection:
            return idempotency.begin(connection, request, kind)

    def complete(self, request: IdempotencyKey, response: WireModel) -> None:
        """See `idempotency.complete`."""
        with translate_errors(), self._engine.begin() as connection:
            idempotency.complete(connection, request, response)

    def forget(self, request: IdempotencyKey) -> None:
        """See `idempotency.forget`."""
        with translate_errors(), self._engine.begin() as connection:
            idempotency.forget(connection, request)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
