"""Commands on sessions: create, change and delete them, and move them from state to state."""

import secrets
import time
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from app import labels, lifecycle
from app.clock import now_ms
from app.errors import BadRequest, Detail
from app.lifecycle import Action, Outcome
from app.models.caller import IdempotencyKey
from app.models.runs import RunCreate, RunMessage
from app.models.sessions import CreatedSession, SessionCreate, SessionStatus, SessionUpdate
from app.results import Idempotent
from app.store import approvals, deletions, events, idempotency, runs, sessions
from app.store.commands.approvals import close_interrupts
from app.store.commands.runs import enqueue, interrupt_queued_run
from app.store.deletions import Deletion
from app.store.sessions import SessionRow

PURGED_EVENTS = 500
"""Events of a deleted session that one transaction removes: few enough that nobody waits long for it."""


class Stored(NamedTuple):
    """The response to a request for a session, and the session that the engine has to provision: none for a replay."""

    created: Idempotent[CreatedSession]
    session: SessionRow | None = None


def create_session(connection: Connection, project: str, new: SessionCreate, key: IdempotencyKey | None) -> Stored:
    """Store a pending session with its task as the first queued run.

    `BadRequest` for a parent of another project, `IdempotencyKeyReused`.
    """
    if key and (first := idempotency.begin(connection, key, CreatedSession)):
        return Stored(Idempotent(first, replayed=True))
    if new.parent_session_id and not sessions.exists(connection, project, new.parent_session_id):
        raise BadRequest(details=[Detail("body.parent_session_id", "must be a session of this project")])
    created_at_ns = time.time_ns()
    session = sessions.add(
        connection,
        session_id=_session_id(created_at_ns),
        project=project,
        request=new,
        created_at=created_at_ns // 1_000_000,
    )
    task = enqueue(connection, session, RunCreate(messages=[RunMessage(role="user", content=new.task)]))
    created = CreatedSession(**msgspec.structs.asdict(session.public()), message="Session created", run_id=task.run_id)
    if key:
        idempotency.complete(connection, key, created)
    return Stored(Idempotent(created), session)


def update_session(connection: Connection, project: str, session_id: str, patch: SessionUpdate) -> SessionRow:
    """Change name, time limit and labels of a session; `SessionNotFound`, `TooManyLabels`."""
    session = sessions.find(connection, project, session_id, lock=True)
    request = msgspec.structs.replace(
        session.request,
        display_name=patch.display_name or session.request.display_name,
        timeout_seconds=patch.timeout_seconds or session.request.timeout_seconds,
    )
    changed = labels.apply_changes(session.labels, patch.label_changes)
    sessions.update_request(connection, session, request, changed)
    return msgspec.structs.replace(session, request=request, labels=changed)


def transition(connection: Connection, project: str, session_id: str, action: Action) -> SessionRow:
    """Put a session into the state that a client's action leads to; `SessionNotFound`, the errors of the action."""
    session = sessions.find(connection, project, session_id, lock=True)
    sessions.set_status(connection, session.row_id, lifecycle.next_status(action, session.status))
    return sessions.find(connection, project, session_id)


def finish_provisioning(connection: Connection, row_id: int, error: str | None) -> bool:
    """Make a pending session running, or failed with `error`; return whether it runs now."""
    session = sessions.get(connection, row_id, lock=True)
    outcome = Outcome.NOT_PROVISIONED if error else Outcome.PROVISIONED
    status = session and lifecycle.status_on(outcome, session.status)
    if status:
        sessions.set_status(connection, row_id, status, completed_at=now_ms() if error else None, error=error)
    return status is SessionStatus.RUNNING


def finish_stopping(connection: Connection, row_id: int) -> None:
    """Make a stopping session stopped and end its queued and waiting runs as interrupted.

    A task that has never begun stays queued for the next start.
    """
    session = sessions.get(connection, row_id, lock=True)
    status = session and lifecycle.status_on(Outcome.STOPPED, session.status)
    if not status:
        return
    task = runs.initial_run(connection, row_id)
    for run in runs.queued(connection, row_id):
        if run.row_id != task:
            interrupt_queued_run(connection, run)
    close_interrupts(connection, row_id)
    sessions.set_status(connection, row_id, status, completed_at=now_ms())


def stop_if_idle(connection: Connection, row_id: int) -> SessionRow | None:
    """Make a running session stopping if it has no unfinished run and no open approval; return it if so."""
    session = sessions.get(connection, row_id, lock=True)
    if session is None or session.status is not SessionStatus.RUNNING or runs.current_or_next(connection, row_id):
        return None
    if approvals.open_ids(connection, [row_id]):
        return None
    sessions.set_status(connection, row_id, lifecycle.next_status(Action.STOP, session.status))
    return session


def delete_session(connection: Connection, project: str, session_id: str) -> Deletion:
    """Delete a session's rows and note its workspace and its log for removal; `SessionNotFound`."""
    session = sessions.find(connection, project, session_id, lock=True)
    deletion = Deletion(session.row_id, session.project, session.id)
    sessions.remove(connection, session.row_id)
    deletions.add(connection, deletion)
    return deletion


def purge_log(connection: Connection, row_id: int) -> bool:
    """Delete a slice of a deleted session's log; return False, and forget the deletion, with the last one."""
    if events.remove_slice(connection, row_id, PURGED_EVENTS):
        return True
    deletions.remove(connection, row_id)
    return False


def _session_id(created_at_ns: int) -> str:
    """Return a new DNS-1123 label that sorts by time."""
    return f"session-{created_at_ns:016x}-{secrets.token_hex(4)}"
