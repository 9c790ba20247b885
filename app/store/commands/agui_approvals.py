"""AG-UI agents that end a run with a question: kept until it is answered, answered with the next run."""

import uuid
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.events import FULL_EVENTS, decode
from app.agui.outcome import Interrupt
from app.agui.run_input import build_resume_input, is_allowed, resume_entry
from app.agui.transcript import transcript
from app.clock import now_ms
from app.models.approvals import ApprovalAnswer, ApprovalPolicy, ApprovalRequest, ApprovalStatus, Decision
from app.store import approvals, events, runs, sessions
from app.store.approvals import ApprovalRow
from app.store.runs import RunRow
from app.store.sessions import SessionRow

_JSON_ERRORS = (ValueError, RecursionError)


def add_interrupts(connection: Connection, run: RunRow, asked: tuple[Interrupt, ...]) -> None:
    """Take what a run has ended with: ask the client, or answer at once where the session's policy does."""
    session = sessions.get(connection, run.session)
    policy = session and session.request.approval_policy
    if session and policy in {ApprovalPolicy.ALLOW, ApprovalPolicy.DENY}:
        allowed = policy is ApprovalPolicy.ALLOW
        resume = [resume_entry(each.id, each.response_schema, allowed=allowed, payload=None) for each in asked]
        _enqueue_resume(connection, session, run.thread_id, resume)
        return
    for each in asked:
        approvals.add(
            connection,
            approval_id=str(uuid.uuid4()),
            session=run.session,
            run=run.row_id,
            question=_question(connection, run, each),
            interrupt_id=each.id,
            created_at=now_ms(),
            expires_at=each.expires_at,
        )


def answer_interrupt(connection: Connection, session: SessionRow, approval: ApprovalRow, said: ApprovalAnswer) -> None:
    """Store the answer; once a run's last question is answered, queue the run that carries the answers."""
    allowed = said.decision is Decision.ALLOW
    status = ApprovalStatus.ALLOWED if allowed else ApprovalStatus.DENIED
    schema = approval.question.response_schema
    resume = resume_entry(approval.interrupt_id or "", schema, allowed=allowed, payload=said.payload)
    approvals.close(connection, approval.row_id, status, resume)
    _continue_when_answered(connection, session, approval.run, approval.thread_id)


def resolve_interrupts(connection: Connection, run: RunRow) -> RunRow:
    """The run as it is to begin: what its thread still waits for is answered by its `resume`, or cancelled in it."""
    waiting = approvals.open_interrupts(connection, run.session, run.thread_id)
    if not waiting:
        return run
    input_: dict[str, Any] = msgspec.json.decode(run.input)
    resume = input_.get("resume", [])
    given = {entry["interruptId"]: entry for entry in resume}
    asking = dict.fromkeys(approval.run for approval in waiting)
    for approval in [each for number in asking for each in approvals.interrupts_of(connection, number)]:
        entry = given.get(approval.interrupt_id)
        if entry is None:
            resume = [*resume, approval.answer or _cancelled(approval)]
        if approval in waiting:
            approvals.close(connection, approval.row_id, _final(approval, entry))
    return runs.change_input(connection, run, {**input_, "resume": resume})


def _continue_when_answered(connection: Connection, session: SessionRow, run: int, thread_id: str) -> None:
    """Queue a run with the answers, unless a question of theirs still waits; one that came too late is cancelled."""
    asked = approvals.interrupts_of(connection, run)
    if any(each.status is ApprovalStatus.PENDING for each in asked):
        return
    resume = [each.answer or _cancelled(each) for each in asked]
    _enqueue_resume(connection, session, thread_id, resume)


def _cancelled(approval: ApprovalRow) -> dict[str, Any]:
    return {"interruptId": approval.interrupt_id, "status": "cancelled"}


def _final(approval: ApprovalRow, entry: dict[str, Any] | None) -> ApprovalStatus:
    """What becomes of a question that a run answers with `entry`, or does not answer."""
    if entry is None or approval.status is ApprovalStatus.EXPIRED:
        return ApprovalStatus.EXPIRED
    allowed = is_allowed(entry["status"], entry.get("payload"))
    return ApprovalStatus.ALLOWED if allowed else ApprovalStatus.DENIED


def _question(connection: Connection, run: RunRow, interrupt: Interrupt) -> ApprovalRequest:
    """The interrupt with the tool call that it is about, read from what the log says of that."""
    name, args = None, None
    if interrupt.tool_call_id:
        log = events.containing(connection, run.session, run.row_id, interrupt.tool_call_id)
        calls = [call for message in transcript(decode(log, FULL_EVENTS)) for call in message.tool_calls or []]
        call = next((call for call in calls if call.id == interrupt.tool_call_id), None)
        if call:
            name, args = call.name, _parsed(call.args)
    return ApprovalRequest(
        message=interrupt.message, tool_name=name, args=args, response_schema=interrupt.response_schema
    )


def _parsed(text: str | None) -> Any:
    """Arguments are JSON, as a rule."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except _JSON_ERRORS:
        return text


def _enqueue_resume(connection: Connection, session: SessionRow, thread_id: str, resume: list[dict[str, Any]]) -> None:
    """Queue a run without a message of its own that takes up the answers to an earlier run's questions."""
    run_id = str(uuid.uuid4())
    runs.add(
        connection,
        session=session.row_id,
        run_id=run_id,
        thread_id=thread_id,
        input=build_resume_input(resume, run_id=run_id, thread_id=thread_id),
        user_message=None,
    )
