"""What the operations do within one transaction: read, decide by the rules, write."""

import secrets
import time
import uuid
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from app import labels
from app.agui.select import canonical
from app.backends.embedded import approvals, interrupts, lifecycle, questions, removals, runs, sessions
from app.backends.embedded.execution import withdraw
from app.backends.embedded.lifecycle import Action
from app.backends.embedded.removals import Removal
from app.backends.embedded.sessions import SessionRow
from app.errors import ApprovalClosed, BadRequest, Detail, RunActive, RunEnded, RunExists, RunNotFound, SessionBusy
from app.types import (
    AcceptedRun,
    Approval,
    ApprovalAnswer,
    ApprovalStatus,
    NewRun,
    NewSession,
    OnBusy,
    Resume,
    RunMessage,
    RunStatus,
    SessionPatch,
)


class Enqueued(NamedTuple):
    """A run that was accepted, its session, and the number of the run under way if that is to be cut for it."""

    accepted: AcceptedRun
    session: SessionRow
    cut: int | None


def create_session(connection: Connection, project: str, new: NewSession) -> SessionRow:
    """A pending session whose task is the first run in its queue; its parent has to be in the same project."""
    if new.parent_session_id and not sessions.exists(connection, project, new.parent_session_id):
        raise BadRequest(details=[Detail("body.parent_session_id", "must be a session of this project")])
    made_at = time.time_ns()
    session = sessions.add(
        connection,
        session_id=_session_id(made_at),
        project=project,
        request=new,
        created_at=made_at // 1_000_000,
    )
    _enqueue(connection, session, NewRun(messages=[RunMessage(role="user", content=new.task)]))
    return session


def update_session(connection: Connection, project: str, session_id: str, patch: SessionPatch) -> SessionRow:
    """The session with its changes."""
    session = sessions.find(connection, project, session_id)
    request = msgspec.structs.replace(
        session.request,
        display_name=patch.display_name or session.request.display_name,
        timeout_seconds=patch.timeout_seconds or session.request.timeout_seconds,
    )
    labelled = labels.changed(session.labels, patch.labels or {})
    sessions.update_request(connection, session, request, labelled)
    return msgspec.structs.replace(session, request=request, labels=labelled)


def delete_session(connection: Connection, project: str, session_id: str) -> Removal:
    """What is left to remove."""
    session = sessions.find(connection, project, session_id)
    removal = Removal(session.number, session.project, session.id)
    sessions.remove(connection, session.number)
    removals.add(connection, removal)
    return removal


def act(connection: Connection, project: str, session_id: str, action: Action) -> SessionRow:
    """The session in the state that the action leads to."""
    session = sessions.find(connection, project, session_id)
    sessions.move(connection, session.number, lifecycle.after(action, session.status))
    return sessions.find(connection, project, session_id)


def create_run(connection: Connection, project: str, session_id: str, run: NewRun) -> Enqueued:
    """A run in the queue of a running session: last, or first where it interrupts the one under way."""
    session = sessions.find(connection, project, session_id)
    lifecycle.after(Action.RUN, session.status)
    before = None if run.on_busy is OnBusy.ENQUEUE else runs.foremost(connection, session.number)
    accepted = _enqueue(connection, session, run)
    if before and run.on_busy is OnBusy.REJECT:
        raise SessionBusy
    return Enqueued(accepted, session, before.number if before and before.status is RunStatus.RUNNING else None)


def cancel_run(connection: Connection, project: str, session_id: str, run_id: str) -> None:
    """Take a run out of the queue and end it as interrupted."""
    session = sessions.find(connection, project, session_id)
    run = runs.find(connection, session.number, canonical(run_id))
    if run is None:
        raise RunNotFound
    if run.status is RunStatus.RUNNING:
        raise RunActive
    if run.status is not RunStatus.QUEUED:
        raise RunEnded
    withdraw(connection, run)


def answer_approval(
    connection: Connection, project: str, session_id: str, approval_id: str, said: ApprovalAnswer
) -> Approval:
    """Store the answer to what waits for one, whether within its run or behind its end."""
    session = sessions.find(connection, project, session_id)
    approval = approvals.find(connection, session.number, approval_id)
    if approval.status is not ApprovalStatus.PENDING:
        raise ApprovalClosed
    lifecycle.after(Action.RUN, session.status)
    if approval.interrupt_id is None:
        questions.respond(connection, session.number, approval, said)
    else:
        interrupts.respond(connection, session, approval, said)
    return approvals.find(connection, session.number, approval_id).public()


def _enqueue(connection: Connection, session: SessionRow, run: NewRun) -> AcceptedRun:
    run_id = canonical(run.run_id) if run.run_id else str(uuid.uuid4())
    thread_id = run.thread_id or session.id
    if runs.exists(connection, session.number, run_id):
        raise RunExists
    runs.add(
        connection,
        session=session.number,
        run_id=run_id,
        thread_id=thread_id,
        input={
            "threadId": thread_id,
            "runId": run_id,
            "state": {} if run.state is None else run.state,
            "messages": [
                {"id": message.id or str(uuid.uuid4()), "role": message.role, "content": message.content}
                for message in run.messages
            ],
            "tools": run.tools or [],
            "context": run.context or [],
            "forwardedProps": run.forwarded_props or {},
            **({"resume": [_resume(entry) for entry in run.resume]} if run.resume else {}),
        },
        urgent=run.on_busy is OnBusy.INTERRUPT,
        user_message=next((message.content for message in reversed(run.messages) if message.role == "user"), None),
    )
    return AcceptedRun(run_id=run_id, thread_id=thread_id)


def _resume(entry: Resume) -> dict[str, Any]:
    said = {"interruptId": entry.interrupt_id, "status": entry.status}
    return said if entry.payload is None else {**said, "payload": entry.payload}


def _session_id(made_at: int) -> str:
    """A DNS-1123 label that sorts by time (`made_at` in ns) and that nobody else comes up with."""
    return f"session-{made_at:016x}-{secrets.token_hex(4)}"
