"""Idempotency keys: which request is the same as an earlier one, and which is under way right now."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.errors import IdempotencyKeyInUse
from app.models.caller import Caller, IdempotencyKey

HEADER = "Idempotency-Key"


def idempotency_key(key: str, caller: Caller, request: Any) -> IdempotencyKey:
    """The key as this caller's in this project, and `request` (JSON) whatever the order of its members."""
    return IdempotencyKey(key=_digest([caller.project, caller.token, key]), fingerprint=_digest(request))


def _digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()


class InFlightKeys:
    """The keys of all requests that this server is working on."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    @contextmanager
    def hold(self, key: IdempotencyKey | None) -> Iterator[None]:
        """Reserve a request's key, if it has one, for the time of a block; `IdempotencyKeyInUse`."""
        if key is None:
            yield
            return
        if key.key in self._keys:
            raise IdempotencyKeyInUse
        self._keys.add(key.key)
        try:
            yield
        finally:
            self._keys.discard(key.key)
