"""Commands on approvals: store what agents request, the decisions, and what follows from them.

There are two kinds of approvals. An agent may request one within its turn (ACP) and waits for the decision while its
run goes on; such an approval has no `interrupt_id`. Or it ends its run with interrupts (AG-UI), each with an id of its
own, and finds the decisions in the `resume` of a later run:

    within a turn    add_pending → answer_approval → collect_decision
                               └→ expire_pending, when the run ends first
    between turns    add_interrupts → answer_approval or expire_interrupts, the last one queues the run that resumes
                                  └→ resolve_interrupts, when another run of the thread begins first
                                  └→ close_interrupts, when the session stops first

A run that has ended with interrupts waits. It is completed with the run that resumes it.
"""

import re
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from app import lifecycle
from app.agui.events import FULL_EVENTS, decode, encode_event
from app.agui.outcome import Interrupt
from app.agui.run_input import build_resume_input, is_allowed, resume_entry
from app.agui.run_recorder import stamp_event
from app.agui.transcript import transcript
from app.clock import now_ms
from app.errors import ApprovalClosed, BadRequest, Detail
from app.lifecycle import Action
from app.models.approvals import (
    DENIED,
    Approval,
    ApprovalAnswer,
    ApprovalDecision,
    ApprovalOption,
    ApprovalPolicy,
    ApprovalRequest,
    ApprovalStatus,
    Decision,
)
from app.models.output import ToolCall
from app.models.sessions import SessionStatus
from app.store import approvals, events, runs, sessions
from app.store.approvals import ApprovalRow, PendingApproval
from app.store.notifier import mark_changed
from app.store.runs import RunRow
from app.store.sessions import SessionRow

RESUME_PRIORITY = 2
"""That of a run which resumes a waiting one: above the runs that interrupt, which have 1, and all others, with 0."""

_ENDS_TURN = ("cancel", "abort")
"""Beginnings of the ids of options that deny a tool call and end the turn with it."""

_JSON_ERRORS = (ValueError, RecursionError)


def answer_approval(
    connection: Connection, project: str, session_id: str, approval_id: str, answer: ApprovalAnswer
) -> Approval:
    """Store a client's decision and return the closed approval.

    `SessionNotFound`, `ApprovalNotFound`, `ApprovalClosed`, `NotRunning`; `BadRequest` for a decision or an option that
    the agent does not offer.
    """
    session = sessions.find(connection, project, session_id, lock=True)
    approval = approvals.find(connection, session.row_id, approval_id)
    if approval.status is not ApprovalStatus.PENDING:
        raise ApprovalClosed
    lifecycle.next_status(Action.RUN, session.status)
    if approval.interrupt_id is None:
        _close_in_turn(connection, session, approval, answer)
    else:
        _close_interrupt(connection, session, approval, answer)
    return approvals.find(connection, session.row_id, approval_id).public()


# Within a turn


def add_pending(connection: Connection, run: RunRow, pending: Sequence[PendingApproval]) -> None:
    """Store approvals that an active run has requested."""
    for approval in pending:
        approvals.add(
            connection,
            approval_id=approval.id,
            session=run.session,
            run=run.row_id,
            request=approval.request,
            interrupt_id=None,
            created_at=approval.created_at,
            expires_at=approval.expires_at,
        )


def collect_decision(connection: Connection, run: RunRow, approval_id: str) -> ApprovalDecision | None:
    """Return the decision on an approval of a run; one that is still pending expires now and counts as denied.

    None is returned if the run is active and the approval has not been stored yet.
    """
    sessions.lock_row(connection, run.session)
    is_active = runs.is_active(connection, run.row_id)
    if is_active:
        for approval in approvals.pending_in_turn(connection, run.row_id):
            if approval.id == approval_id:
                approvals.close(connection, approval.row_id, ApprovalStatus.EXPIRED)
                events.append(connection, run.session, run.row_id, [_resolved(approval, ApprovalStatus.EXPIRED)])
                return choose_option(approval.request, allowed=False)
    decision = approvals.decision_on(connection, run.session, approval_id)
    if decision is None:
        return None if is_active else DENIED
    return msgspec.convert(decision, ApprovalDecision)


def expire_pending(connection: Connection, run: RunRow) -> list[bytes]:
    """Expire what a run that ends still waits for; return the events that announce it, which are not appended yet."""
    expired = approvals.pending_in_turn(connection, run.row_id)
    for approval in expired:
        approvals.close(connection, approval.row_id, ApprovalStatus.EXPIRED)
    return [_resolved(approval, ApprovalStatus.EXPIRED) for approval in expired]


def choose_option(request: ApprovalRequest, *, allowed: bool) -> ApprovalDecision:
    """Return a decision with the narrowest of the agent's options for it.

    "Once" goes before "always", and a denial with which the agent goes on before one that ends its turn.
    """
    fitting = [option for option in request.options or [] if _allows(option) is allowed]
    narrowest = min(fitting, key=_width, default=None)
    return ApprovalDecision(allowed=allowed, option_id=narrowest.id if narrowest else None)


def _width(option: ApprovalOption) -> tuple[bool, bool]:
    return not (option.kind or "").endswith("_once"), option.id.lower().startswith(_ENDS_TURN)


def _close_in_turn(connection: Connection, session: SessionRow, approval: ApprovalRow, answer: ApprovalAnswer) -> None:
    decision = _decision(approval.request, answer)
    status = ApprovalStatus.ALLOWED if decision.allowed else ApprovalStatus.DENIED
    approvals.close(connection, approval.row_id, status, decision)
    events.append(connection, session.row_id, approval.run, [_resolved(approval, status, decision)])


def _decision(request: ApprovalRequest, answer: ApprovalAnswer) -> ApprovalDecision:
    """Return a client's decision, with the option that it names or the narrowest one that fits."""
    allowed = answer.decision is Decision.ALLOW
    payload = dict(answer.payload or {})
    option_id: Any = payload.pop("option_id", None)
    if payload:
        raise BadRequest(details=[Detail("body.payload", "may hold option_id and nothing else here")])
    if option_id is None:
        decision = choose_option(request, allowed=allowed)
        if allowed and request.options is not None and decision.option_id is None:
            raise BadRequest(details=[Detail("body.decision", "is none that the agent offers")])
        return decision
    if not any(option.id == option_id and _allows(option) is allowed for option in request.options or []):
        raise BadRequest(
            details=[Detail("body.payload.option_id", "must be one of the approval's options that fit the decision")]
        )
    return ApprovalDecision(allowed=allowed, option_id=option_id)


def _allows(option: ApprovalOption) -> bool:
    return (option.kind or "").startswith("allow")


def _resolved(approval: ApprovalRow, status: ApprovalStatus, decision: ApprovalDecision | None = None) -> bytes:
    value = {"id": approval.id, "status": status}
    if decision and decision.option_id is not None:
        value["option_id"] = decision.option_id
    event = encode_event("CUSTOM", name="approval.resolved", value=value)
    return stamp_event(event, approval.run_id, approval.thread_id, now_ms(), None)


# Between turns


def add_interrupts(connection: Connection, run: RunRow, interrupts: Sequence[Interrupt]) -> None:
    """Store the interrupts with which a run has ended, or resume at once if the session's policy decides them."""
    session = sessions.get(connection, run.session)
    policy = session and session.request.approval_policy
    if session and policy in {ApprovalPolicy.ALLOW, ApprovalPolicy.DENY}:
        allowed = policy is ApprovalPolicy.ALLOW
        resume = [resume_entry(each.id, each.response_schema, allowed=allowed, payload=None) for each in interrupts]
        _continue(connection, run.session, run.row_id, run.thread_id, resume)
        return
    for interrupt in interrupts:
        approvals.add(
            connection,
            approval_id=str(uuid.uuid4()),
            session=run.session,
            run=run.row_id,
            request=_request(connection, run, interrupt),
            interrupt_id=interrupt.id,
            created_at=now_ms(),
            expires_at=interrupt.expires_at,
        )


def resolve_interrupts(connection: Connection, run: RunRow) -> RunRow:
    """Close the pending interrupts of a run's thread before it begins; return the run with a complete `resume`.

    Where the run's own input has no entry for an interrupt, the stored decision is added, or else a cancellation.
    """
    interrupts = approvals.unresumed_interrupts(connection, run.session, run.thread_id)
    if not interrupts:
        return run
    run_input: dict[str, Any] = msgspec.json.decode(run.input)
    resume = run_input.get("resume", [])
    given = {entry["interruptId"]: entry for entry in resume}
    for approval in interrupts:
        entry = given.get(approval.interrupt_id)
        if entry is None:
            resume = [*resume, approval.decision or _cancellation(approval)]
        if approval.decision is None:
            approvals.close(connection, approval.row_id, _final_status(approval, entry))
    for row_id in {approval.run for approval in interrupts}:
        runs.continue_by(connection, row_id, run.run_id)
    return runs.set_input(connection, run, {**run_input, "resume": resume})


def _close_interrupt(
    connection: Connection, session: SessionRow, approval: ApprovalRow, answer: ApprovalAnswer
) -> None:
    """Store the decision; once no interrupt of the run is pending any more, queue the run that resumes it."""
    allowed = answer.decision is Decision.ALLOW
    status = ApprovalStatus.ALLOWED if allowed else ApprovalStatus.DENIED
    schema = approval.request.response_schema
    entry = resume_entry(approval.interrupt_id or "", schema, allowed=allowed, payload=answer.payload)
    approvals.close(connection, approval.row_id, status, entry)
    _continue_if_decided(connection, session.row_id, approval.run, approval.thread_id)


def expire_interrupts(connection: Connection, row_id: int) -> bool:
    """Deny the interrupts of a session that have expired; return whether a run continues because of that."""
    session = sessions.get(connection, row_id, lock=True)
    if session is None:
        return False
    continued = False
    for run in runs.waiting(connection, row_id):
        for approval in approvals.interrupts_of(connection, run.row_id):
            if approval.status is ApprovalStatus.EXPIRED:
                approvals.close(connection, approval.row_id, ApprovalStatus.EXPIRED, _denial(approval))
        if session.status is SessionStatus.RUNNING:
            continued = _continue_if_decided(connection, row_id, run.row_id, run.thread_id) or continued
    return continued


def close_interrupts(connection: Connection, row_id: int) -> None:
    """End the runs of a session that wait as interrupted, because it stops; nobody can answer them any more."""
    runs.interrupt_waiting(connection, row_id)
    approvals.expire_interrupts(connection, row_id)


def _continue_if_decided(connection: Connection, session: int, run: int, thread_id: str) -> bool:
    """Queue the run that resumes a waiting one if none of its interrupts is pending any more; return whether it is."""
    interrupts = approvals.interrupts_of(connection, run)
    if any(each.status is ApprovalStatus.PENDING for each in interrupts):
        return False
    for expired in [each for each in interrupts if each.decision is None]:
        approvals.close(connection, expired.row_id, ApprovalStatus.EXPIRED, _denial(expired))
    _continue(connection, session, run, thread_id, [each.decision or _denial(each) for each in interrupts])
    return True


def _final_status(approval: ApprovalRow, entry: dict[str, Any] | None) -> ApprovalStatus:
    """Return what becomes of a pending interrupt when a run begins whose `resume` has this entry for it, or none."""
    if entry is None or approval.status is ApprovalStatus.EXPIRED:
        return ApprovalStatus.EXPIRED
    allowed = is_allowed(entry["status"], entry.get("payload"))
    return ApprovalStatus.ALLOWED if allowed else ApprovalStatus.DENIED


def _denial(approval: ApprovalRow) -> dict[str, Any]:
    return resume_entry(approval.interrupt_id or "", approval.request.response_schema, allowed=False, payload=None)


def _cancellation(approval: ApprovalRow) -> dict[str, Any]:
    return {"interruptId": approval.interrupt_id, "status": "cancelled"}


def _request(connection: Connection, run: RunRow, interrupt: Interrupt) -> ApprovalRequest:
    """Return the interrupt with the name and arguments of its tool call, which are read from the log."""
    name, args = interrupt.tool_name, interrupt.args
    if interrupt.tool_call_id:
        log = events.containing(connection, run.session, run.row_id, interrupt.tool_call_id)
        calls = [call for message in transcript(decode(log, FULL_EVENTS)) for call in message.tool_calls or []]
        if call := _call_of(interrupt.tool_call_id, calls):
            name, args = call.name, _decoded(call.args)
    return ApprovalRequest(
        message=interrupt.message,
        tool_call_id=interrupt.tool_call_id,
        tool_name=name,
        args=args,
        response_schema=interrupt.response_schema,
    )


def _call_of(id_: str, calls: Sequence[ToolCall]) -> ToolCall | None:
    """Return the call that an agent means by an id: of several with one id the last that is open, or else the last.

    A transcript numbers the second and later calls of an id.
    """
    named = [call for call in calls if call.id == id_ or re.fullmatch(re.escape(id_) + r"-[0-9]+", call.id)]
    return max(named, key=lambda call: (call.result is None, named.index(call)), default=None)


def _decoded(args: str | None) -> Any:
    """Return the value of arguments that are JSON, and any others as text."""
    try:
        return None if args is None else msgspec.json.decode(args)
    except _JSON_ERRORS:
        return args


def _continue(connection: Connection, session: int, run: int, thread_id: str, resume: list[dict[str, Any]]) -> None:
    """Queue the run that resumes a waiting one, before all others."""
    run_id = str(uuid.uuid4())
    runs.add(
        connection,
        session=session,
        run_id=run_id,
        thread_id=thread_id,
        input=build_resume_input(resume, run_id=run_id, thread_id=thread_id),
        user_message=None,
        priority=RESUME_PRIORITY,
    )
    runs.continue_by(connection, run, run_id)
    mark_changed(connection, session)
