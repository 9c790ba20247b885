"""Approvals: what an agent asks for, and the answer to it."""

from enum import StrEnum
from typing import Any

import msgspec

from app.models.wire import WireModel


class ApprovalPolicy(StrEnum):
    """What happens when the agent asks before it does something."""

    ASK = "ask"
    ALLOW = "allow"
    DENY = "deny"


class ApprovalStatus(StrEnum):
    """Where an approval is; the last three are final."""

    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"


class Decision(StrEnum):
    """The answer to an approval."""

    ALLOW = "allow"
    DENY = "deny"


class ApprovalOption(WireModel):
    """One of the answers that an agent offers."""

    id: str
    name: str | None = None
    kind: str | None = None


class Approval(WireModel):
    """Something that the agent may do only once it is allowed; times are RFC 3339."""

    id: str
    run_id: str
    status: ApprovalStatus
    created_at: str
    message: str | None = None
    tool_name: str | None = None
    args: Any = None
    options: list[ApprovalOption] | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: str | None = None


class ApprovalList(WireModel):
    """What the agent of a session waits for, oldest first."""

    items: list[Approval]


class ApprovalAnswer(WireModel):
    """The body of answer_approval."""

    decision: Decision
    payload: dict[str, Any] | None = None


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent may do only once it is allowed; `options` are the answers that it offers."""

    message: str | None = None
    tool_name: str | None = None
    args: Any = None
    options: list[ApprovalOption] | None = None
    response_schema: dict[str, Any] | None = None


class ApprovalDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the agent may do what it asked for, and which of its options says so, if it offered one that does."""

    allowed: bool
    option_id: str | None = None


DENIED = ApprovalDecision(allowed=False)
