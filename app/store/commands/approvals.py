"""Transactions on approvals."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from app import lifecycle
from app.agui.events import encode_event
from app.agui.stamp import with_ids
from app.clock import now_ms
from app.errors import ApprovalClosed, BadRequest, Detail
from app.lifecycle import Action
from app.models.approvals import (
    DENIED,
    Approval,
    ApprovalAnswer,
    ApprovalDecision,
    ApprovalOption,
    ApprovalRequest,
    ApprovalStatus,
    Decision,
)
from app.store import approvals, events, sessions
from app.store.approvals import ApprovalRow
from app.store.commands import agui_approvals
from app.store.runs import RunRow


def answer_approval(
    connection: Connection, project: str, session_id: str, approval_id: str, said: ApprovalAnswer
) -> Approval:
    """Store the answer to what waits for one, whether within its run or behind its end."""
    session = sessions.find(connection, project, session_id)
    approval = approvals.find(connection, session.row_id, approval_id)
    if approval.status is not ApprovalStatus.PENDING:
        raise ApprovalClosed
    lifecycle.next_status(Action.RUN, session.status)
    if approval.interrupt_id is None:
        answer_pending(connection, session.row_id, approval, said)
    else:
        agui_approvals.answer_interrupt(connection, session, approval, said)
    return approvals.find(connection, session.row_id, approval_id).public()


class PendingApproval(msgspec.Struct, frozen=True):
    """A question on its way into the store, with the event that tells of it; times in ms."""

    approval_id: str
    question: ApprovalRequest
    created_at: int
    expires_at: int
    event: bytes


def add_pending(connection: Connection, run: RunRow, asked: Sequence[PendingApproval]) -> None:
    """Store questions that a run under way has asked."""
    for each in asked:
        approvals.add(
            connection,
            approval_id=each.approval_id,
            session=run.session,
            run=run.row_id,
            question=each.question,
            interrupt_id=None,
            created_at=each.created_at,
            expires_at=each.expires_at,
        )


def answer_pending(connection: Connection, session: int, approval: ApprovalRow, said: ApprovalAnswer) -> None:
    """Store a client's answer to a question that waits, and tell of it in the log; `BadRequest`."""
    answer = _decision_of(approval.question, said)
    status = ApprovalStatus.ALLOWED if answer.allowed else ApprovalStatus.DENIED
    approvals.close(connection, approval.row_id, status, answer)
    events.append(connection, session, approval.run, [_resolved(approval, status, answer)])


def expire_pending(connection: Connection, run: RunRow) -> list[bytes]:
    """Close what a run that ends still waits for; the events that tell of it."""
    left = approvals.questions_of(connection, run.row_id)
    for approval in left:
        approvals.close(connection, approval.row_id, ApprovalStatus.EXPIRED)
    return [_resolved(approval, ApprovalStatus.EXPIRED) for approval in left]


def conclude_pending(connection: Connection, run: RunRow, approval_id: str) -> ApprovalDecision:
    """What the agent is told of a question that was answered, or whose time is over: it is closed then."""
    for approval in approvals.questions_of(connection, run.row_id):
        if approval.id == approval_id:
            approvals.close(connection, approval.row_id, ApprovalStatus.EXPIRED)
            told = _resolved(approval, ApprovalStatus.EXPIRED)
            events.append(connection, run.session, run.row_id, [told])
            return choose_option(approval.question, allowed=False)
    answer = approvals.answer_to(connection, run.session, approval_id)
    return DENIED if answer is None else msgspec.convert(answer, ApprovalDecision)


def _decision_of(question: ApprovalRequest, said: ApprovalAnswer) -> ApprovalDecision:
    """What a client has decided, by the option that it names or the least that fits."""
    allowed = said.decision is Decision.ALLOW
    given = dict(said.payload or {})
    option_id: Any = given.pop("option_id", None)
    if given:
        raise BadRequest(details=[Detail("body.payload", "may hold option_id and nothing else here")])
    if option_id is None:
        answer = choose_option(question, allowed=allowed)
        if allowed and question.options is not None and answer.option_id is None:
            raise BadRequest(details=[Detail("body.decision", "is none that the agent offers")])
        return answer
    if not any(option.id == option_id and _allows(option) is allowed for option in question.options or []):
        raise BadRequest(
            details=[Detail("body.payload.option_id", "must be one of the approval's options that fit the decision")]
        )
    return ApprovalDecision(allowed=allowed, option_id=option_id)


def choose_option(question: ApprovalRequest, *, allowed: bool) -> ApprovalDecision:
    """The least of the options that say so: what holds once goes before what holds always."""
    fitting = [option for option in question.options or [] if _allows(option) is allowed]
    least = min(fitting, key=lambda option: not (option.kind or "").endswith("_once"), default=None)
    return ApprovalDecision(allowed=allowed, option_id=least.id if least else None)


def _allows(option: ApprovalOption) -> bool:
    return (option.kind or "").startswith("allow")


def _resolved(approval: ApprovalRow, status: ApprovalStatus, answer: ApprovalDecision | None = None) -> bytes:
    value = {"id": approval.id, "status": status}
    if answer and answer.option_id is not None:
        value["option_id"] = answer.option_id
    raw = encode_event("CUSTOM", name="approval.resolved", value=value)
    return with_ids(raw, approval.run_id, approval.thread_id, now_ms(), None)
