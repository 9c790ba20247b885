"""Approvals: permissions that agents request, and the decisions on them."""

from enum import StrEnum
from typing import Any

import msgspec

from app.models.wire import WireModel


class ApprovalPolicy(StrEnum):
    """How the approvals of a session are decided: by the client, or at once and always the same way."""

    ASK = "ask"
    ALLOW = "allow"
    DENY = "deny"


class ApprovalStatus(StrEnum):
    """The status of an approval. `unknown` is for a later server: this one does not send it."""

    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """The decision on an approval."""

    ALLOW = "allow"
    DENY = "deny"


class ApprovalOption(WireModel):
    """One of the decisions that an agent offers."""

    id: str
    name: str | None = None
    kind: str | None = None


class Approval(WireModel):
    """A permission that an agent has requested, with its status."""

    id: str
    run_id: str
    status: ApprovalStatus
    created_at: str
    message: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: Any = None
    options: list[ApprovalOption] | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: str | None = None


class ApprovalList(WireModel):
    """The pending approvals of a session, oldest first."""

    items: list[Approval]


class ApprovalAnswer(WireModel):
    """The body of answer_approval."""

    decision: Decision
    payload: dict[str, Any] | None = None


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A permission that an agent requests; `options` are the decisions that it offers."""

    message: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: Any = None
    options: list[ApprovalOption] | None = None
    response_schema: dict[str, Any] | None = None


class ApprovalDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision as the agent gets it, with the id of its own option that says the same, if it has offered one."""

    allowed: bool
    option_id: str | None = None


DENIED = ApprovalDecision(allowed=False)
