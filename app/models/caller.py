"""The sender of a request, and what they may do."""

from enum import StrEnum

import msgspec

from app.models.limits import Limits, ProjectUsage
from app.models.wire import WireModel


class Role(StrEnum):
    """A role in a project: `view` reads, `edit` also creates and controls, `admin` also deletes."""

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"


class Credentials(msgspec.Struct, frozen=True):
    """The token of a request, and the project if a header or the token names one."""

    token: str
    project: str | None


class IdempotencyKey(msgspec.Struct, frozen=True):
    """The identity of a request that takes effect once.

    `key` is the SHA-256 of its Idempotency-Key with the caller, `fingerprint` that of its input.
    """

    key: bytes
    fingerprint: bytes


class Caller(msgspec.Struct, frozen=True):
    """A sender who may do what they request, as far as the backend knows before it does it.

    `key_id` is that of the access key, for a backend that has keys.
    """

    token: str
    project: str
    idempotency_key: IdempotencyKey | None = None
    key_id: str | None = None


class KeyIdentity(WireModel):
    """An access key without its secret; `expires_at` is an RFC 3339 UTC string."""

    id: str
    name: str | None = None
    expires_at: str | None = None


class Identity(WireModel):
    """A caller as far as the backend knows them, and the names of the operations and features that it has.

    `limits` bound what the caller may do, and `usage` is what their project has.
    """

    project: str
    backend: str
    capabilities: list[str]
    role: Role | None = None
    key: KeyIdentity | None = None
    limits: Limits | None = None
    usage: ProjectUsage | None = None
