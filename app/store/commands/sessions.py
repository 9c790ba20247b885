"""What the operations do within one transaction: read, decide by the rules, write."""

import secrets
import time

import msgspec
from sqlalchemy import Connection

from app import labels, lifecycle
from app.agui.run_recorder import RunRecorder
from app.clock import now_ms
from app.errors import BadRequest, Detail
from app.lifecycle import Action, Outcome
from app.models.runs import NewRun, RunMessage
from app.models.sessions import NewSession, SessionPatch, SessionStatus
from app.store import approvals, deletions, runs, sessions
from app.store.commands.runs import append_events, enqueue
from app.store.deletions import Deletion
from app.store.sessions import SessionRow


def finish_provisioning(connection: Connection, number: int, error: str | None) -> bool:
    """Let a session run, or fail with `error`; whether it runs now."""
    session = sessions.get(connection, number)
    outcome = Outcome.NOT_PROVISIONED if error else Outcome.PROVISIONED
    status = session and lifecycle.status_on(outcome, session.status)
    if status:
        sessions.move(connection, number, status, completed_at=now_ms() if error else None, error=error)
    return status is SessionStatus.RUNNING


def finish_stopping(connection: Connection, number: int) -> None:
    """Let a session rest: its queue ends as interrupted, but a task that never began waits for the next start."""
    session = sessions.get(connection, number)
    status = session and lifecycle.status_on(Outcome.STOPPED, session.status)
    if not status:
        return
    task = runs.initial_run(connection, number)
    for run in runs.queued(connection, number):
        if run.row_id != task:
            runs.begin(connection, run.row_id, now_ms())
            recorder = RunRecorder(run.run_id, run.thread_id, run.input)
            append_events(connection, run, recorder.interrupt(now_ms()), recorder.outcome)
    sessions.move(connection, number, status, completed_at=now_ms())


def stop_if_idle(connection: Connection, number: int) -> SessionRow | None:
    """Let a running session stop that has no run under way or in its queue and waits for no answer; it, if it does."""
    session = sessions.get(connection, number)
    if session is None or session.status is not SessionStatus.RUNNING or runs.current_or_next(connection, number):
        return None
    if approvals.waiting(connection, [number]):
        return None
    sessions.move(connection, number, lifecycle.next_status(Action.STOP, session.status))
    return session


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
    enqueue(connection, session, NewRun(messages=[RunMessage(role="user", content=new.task)]))
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


def delete_session(connection: Connection, project: str, session_id: str) -> Deletion:
    """What is left to remove."""
    session = sessions.find(connection, project, session_id)
    removal = Deletion(session.row_id, session.project, session.id)
    sessions.remove(connection, session.row_id)
    deletions.add(connection, removal)
    return removal


def transition(connection: Connection, project: str, session_id: str, action: Action) -> SessionRow:
    """The session in the state that the action leads to."""
    session = sessions.find(connection, project, session_id)
    sessions.move(connection, session.row_id, lifecycle.next_status(action, session.status))
    return sessions.find(connection, project, session_id)


def _session_id(made_at: int) -> str:
    """A DNS-1123 label that sorts by time (`made_at` in ns) and that nobody else comes up with."""
    return f"session-{made_at:016x}-{secrets.token_hex(4)}"
