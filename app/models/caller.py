"""Who sends a request, and what they may do."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a token may do in its project: look, also create and control, also delete."""

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"


class Credentials(msgspec.Struct, frozen=True):
    """What a request says of its sender: the token, and the project if a header or the token names one."""

    token: str
    project: str | None


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A request that takes effect once: SHA-256 of its Idempotency-Key with the caller, and of its input."""

    key: bytes
    fingerprint: bytes


class Caller(msgspec.Struct, frozen=True):
    """A sender whose project is settled and whose role, as far as the backend judges it, suffices."""

    token: str
    project: str
    idempotency_key: IdempotencyKey | None = None
