"""Commands on sessions: create, change and delete them, and move them from state to state."""

import secrets
import time
from collections.abc import Mapping
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
from app.store import approvals, deletions, idempotency, idle, initial_files, leases, runs, sessions, workers
from app.store.commands.approvals import close_interrupts
from app.store.commands.runs import enqueue, interrupt_queued_run, revoke_lease
from app.store.deletions import Deletion
from app.store.notifier import mark_changed
from app.store.quotas import UNBOUNDED, Room
from app.store.sessions import SessionRow
from app.store.tables import EVENTS, SESSION_LOG

PURGED_ROWS = 500
"""Events and lines of a deleted session that one transaction removes: few enough that nobody waits long for it."""
MAX_LOST_WORKERS = 3
WORKERS_LOST = f"{MAX_LOST_WORKERS} workers in a row were lost while they worked on the session."
DISK_LOST = "The machine with the session's workspace is gone. Start the session to make its workspace anew."


class Stored(NamedTuple):
    """The response to a request for a session, and the session that the engine has to provision: none for a replay."""

    created: Idempotent[CreatedSession]
    session: SessionRow | None = None


def create_session(
    connection: Connection,
    project: str,
    new: SessionCreate,
    key: IdempotencyKey | None,
    *,
    room: Room = UNBOUNDED,
    secrets: bytes | None = None,
    disk: str | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Stored:
    """Store a pending session with its task as the first queued run; `secrets` are those of `new`, encrypted.

    A session that needs a `disk` stays there. `files` have the content of its attachments by their paths. Raises
    `BadRequest` for a parent of another project, `IdempotencyKeyReused`, and the errors of a quota.
    """
    if key and (first := idempotency.begin(connection, key, CreatedSession)):
        return Stored(Idempotent(first, replayed=True))
    if new.parent_session_id and not sessions.exists(connection, project, new.parent_session_id):
        raise BadRequest(details=[Detail("body.parent_session_id", "must be a session of this project")])
    room.require_session(connection, project)
    room.require_bytes()
    created_at_ns = time.time_ns()
    session = sessions.add(
        connection,
        session_id=_session_id(created_at_ns),
        project=project,
        request=new,
        created_at=created_at_ns // 1_000_000,
        secrets=secrets,
        disk=disk,
        files_bytes=sum(map(len, (files or {}).values())),
    )
    initial_files.add(connection, session.row_id, files or {})
    message = RunMessage(role="user", content=new.task, attachments=new.attachments)
    task = enqueue(connection, session, RunCreate(messages=[message]))
    created = CreatedSession(**msgspec.structs.asdict(session.public()), message="Session created", run_id=task.run_id)
    if key:
        idempotency.complete(connection, key, created)
    return Stored(Idempotent(created), session)


def update_session(connection: Connection, project: str, session_id: str, patch: SessionUpdate) -> SessionRow:
    """Change name, model, mode, time limit and labels of a session; `SessionNotFound`, `TooManyLabels`."""
    session = sessions.find(connection, project, session_id, lock=True)
    request = msgspec.structs.replace(
        session.request,
        display_name=patch.display_name or session.request.display_name,
        model=patch.model or session.request.model,
        mode=patch.mode or session.request.mode,
        timeout_seconds=patch.timeout_seconds or session.request.timeout_seconds,
    )
    changed = labels.apply_changes(session.labels, patch.label_changes)
    sessions.update_request(connection, session, request, changed)
    return sessions.find(connection, project, session_id)


def transition(
    connection: Connection,
    project: str,
    session_id: str,
    action: Action,
    *,
    room: Room = UNBOUNDED,
    lost_after: float | None = None,
) -> SessionRow:
    """Put a session into the state that a client's action leads to.

    A start gives up a disk that no worker has had for `lost_after` seconds, and with it the workspace. Raises
    `SessionNotFound`, `TooManySessions` for a start, and the errors of the action.
    """
    session = sessions.find(connection, project, session_id, lock=True)
    status = lifecycle.next_status(action, session.status)
    if action is Action.START:
        room.require_session(connection, project)
        if session.disk and lost_after is not None and session.disk in workers.lost_disks(connection, lost_after):
            leases.leave_disk(connection, session.row_id)
    sessions.set_status(connection, session.row_id, status)
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
    _interrupt_what_waits(connection, row_id)
    sessions.set_status(connection, row_id, status, completed_at=now_ms())


def take_from_lost_worker(connection: Connection, row_id: int) -> None:
    """Take a session from a worker that is lost; the session fails if it has cost too many in a row."""
    session = sessions.get(connection, row_id, lock=True)
    if session and revoke_lease(connection, row_id) >= MAX_LOST_WORKERS:
        _fail(connection, session, WORKERS_LOST)


def fail_without_disk(connection: Connection, row_id: int) -> None:
    """End a session whose disk is lost."""
    session = sessions.get(connection, row_id, lock=True)
    if session:
        revoke_lease(connection, row_id)
        _fail(connection, session, DISK_LOST)


def _fail(connection: Connection, session: SessionRow, error: str) -> None:
    """End a session as failed, or as stopped if it was stopping; its task as for a stop."""
    row_id = session.row_id
    if session.status is SessionStatus.STOPPING:
        finish_stopping(connection, row_id)
    elif status := lifecycle.status_on(Outcome.LOST, session.status):
        _interrupt_what_waits(connection, row_id)
        sessions.set_status(connection, row_id, status, completed_at=now_ms(), error=error)


def _interrupt_what_waits(connection: Connection, row_id: int) -> None:
    task = runs.initial_run(connection, row_id)
    for run in runs.queued(connection, row_id):
        if run.row_id != task:
            interrupt_queued_run(connection, run)
    close_interrupts(connection, row_id)


def stop_if_idle(connection: Connection, row_id: int, limit: float | None) -> SessionRow | None:
    """Make a session stopping that has been idle for long enough and has no open approval; return it if so.

    `limit` in seconds is the server's, see `idle.deadlines`.
    """
    session = sessions.get(connection, row_id, lock=True)
    deadline = idle.deadline(connection, row_id, limit)
    if session is None or deadline is None or deadline > now_ms() or approvals.open_ids(connection, [row_id]):
        return None
    sessions.set_status(connection, row_id, lifecycle.next_status(Action.STOP, session.status))
    return session


def delete_session(connection: Connection, project: str, session_id: str) -> Deletion:
    """Delete a session's rows and note its workspace and its log for removal; `SessionNotFound`."""
    session = sessions.find(connection, project, session_id, lock=True)
    deletion = Deletion(session.row_id, session.project, session.id, session.disk)
    sessions.remove(connection, session.row_id)
    deletions.add(connection, deletion)
    return deletion


def purge_log(connection: Connection, row_id: int) -> bool:
    """Delete a slice of a deleted session's logs; return False, and forget the deletion, with the last one."""
    for log in (EVENTS, SESSION_LOG):
        if deletions.remove_slice(connection, log, row_id, PURGED_ROWS):
            return True
    deletions.remove(connection, row_id)
    mark_changed(connection, row_id)
    return False


def _session_id(created_at_ns: int) -> str:
    """Return a new DNS-1123 label that sorts by time."""
    return f"session-{created_at_ns:016x}-{secrets.token_hex(4)}"
