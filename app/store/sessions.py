"""SQL of sessions: rows in and out, no rules."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, func, insert, literal, select, update

from app.agui.usage import total
from app.clock import now_ms, rfc3339
from app.errors import SessionNotFound
from app.models.approvals import ApprovalPolicy
from app.models.runs import RunStatus, Usage
from app.models.sessions import Activity, Repo, Session, SessionCreate, SessionStatus, WaitingFor
from app.store import approvals, leases
from app.store.dialect import contains, json_object
from app.store.notifier import mark_changed
from app.store.runs import SESSION_HAS_UNFINISHED_RUN
from app.store.statements import RowLock, Statement
from app.store.tables import APPROVALS, LABELS, RUNS, SESSIONS
from app.urls import without_credentials

_SEPARATOR = "\x1f"  # between the searched texts, so that no match spans two of them
_STATUSES = {status.value: status for status in SessionStatus}
_decode_request = msgspec.json.Decoder(SessionCreate).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_decode_usage = msgspec.json.Decoder(Usage).decode


class SessionRow(msgspec.Struct, frozen=True):
    """A stored session; times in ms, labels and secrets are not in the request.

    `model` and `mode` are those in use, once the agent has said them. `disk` has the workspace, where there are many.
    """

    status: SessionStatus
    request: SessionCreate
    labels: dict[str, str]
    usage: Usage | None
    active_run_id: str | None
    has_unfinished_run: bool
    row_id: int
    id: str
    project: str
    created_at: int
    stored_bytes: int
    completed_at: int | None
    error: str | None
    result: str | None
    model: str | None
    mode: str | None
    workspace_bytes: int | None
    disk_bytes: int
    last_run_status: RunStatus | None
    secrets: bytes | None = None
    disk: str | None = None

    def public(self, open_approvals: list[str] | None = None) -> Session:
        """Return the session as a client sees it: without environment variables and credentials."""
        request = self.request
        activity = None
        if self.status is SessionStatus.RUNNING:
            activity = Activity.WORKING if self.has_unfinished_run else Activity.IDLE
            activity = Activity.WAITING if open_approvals else activity
        session = Session(  # a call with more than 15 keywords would take four times as long
            id=self.id,
            status=self.status,
            activity=activity,
            display_name=request.display_name,
            task=request.task,
            agent=request.agent,
            model=self.model or request.model,
            mode=self.mode or request.mode,
            created_at=rfc3339(self.created_at),
            approval_policy=request.approval_policy or ApprovalPolicy.ASK,
            labels=self.labels or None,
            active_run_id=self.active_run_id,
            last_run_status=self.last_run_status,
            usage=self.usage,
            workspace_bytes=self.workspace_bytes,
        )
        session.repos = request.repos and [_public(repo) for repo in request.repos]
        session.workspace = request.workspace
        session.completed_at = rfc3339(self.completed_at)
        session.result = self.result
        session.error = self.error
        session.waiting_for = WaitingFor(approvals=open_approvals) if open_approvals else None
        session.timeout_seconds = request.timeout_seconds
        session.idle_timeout_seconds = request.idle_timeout_seconds
        session.stop_on_run_finished = request.stop_on_run_finished
        session.parent_session_id = request.parent_session_id
        return session


def _public(repo: Repo) -> Repo:
    return msgspec.structs.replace(repo, url=without_credentials(repo.url))


_LABELS_AS_JSON = (
    select(json_object(LABELS.c.key, LABELS.c.value)).where(LABELS.c.session == SESSIONS.c.row_id).scalar_subquery()
)


def _one_run(column: ColumnElement[str], status: RunStatus) -> ColumnElement[str]:
    with_status = RUNS.c.session == SESSIONS.c.row_id, RUNS.c.status == status
    return select(column).where(*with_status).limit(1).scalar_subquery()


_UNFINISHED_RUN = func.coalesce(  # the id of the active run, "" if all are queued, NULL if there is none
    _one_run(RUNS.c.run_id, RunStatus.RUNNING), _one_run(literal(""), RunStatus.QUEUED)
)
_LAST_RUN = RUNS.alias()
_ROWS = select(  # the fields of SessionRow; the first ones are stored in another form
    SESSIONS.c.status,
    SESSIONS.c.request,
    _LABELS_AS_JSON,
    SESSIONS.c.usage,
    _UNFINISHED_RUN,
    SESSIONS.c.row_id,
    SESSIONS.c.id,
    SESSIONS.c.project,
    SESSIONS.c.created_at,
    SESSIONS.c.stored_bytes,
    SESSIONS.c.completed_at,
    SESSIONS.c.error,
    SESSIONS.c.result,
    SESSIONS.c.model,
    SESSIONS.c.mode,
    SESSIONS.c.workspace_bytes,
    SESSIONS.c.disk_bytes,
    _LAST_RUN.c.status,
    SESSIONS.c.secrets,
    SESSIONS.c.disk,
).select_from(SESSIONS.outerjoin(_LAST_RUN, _LAST_RUN.c.row_id == SESSIONS.c.last_run))
_OF_PROJECT = SESSIONS.c.project == bindparam("project_")
_NEWEST_FIRST = SESSIONS.c.created_at.desc(), SESSIONS.c.id.desc()

# Compiled once: nearly every request, or every run, executes one of them.
_FIND_ROW = Statement(_ROWS.where(SESSIONS.c.id == bindparam("session_id"), _OF_PROJECT))
_LOCK_BY_ID = RowLock(select(SESSIONS.c.row_id).where(SESSIONS.c.id == bindparam("session_id"), _OF_PROJECT))
_GET_ROW = Statement(_ROWS.where(SESSIONS.c.row_id == bindparam("row_id_")))
_LOCK = RowLock(select(SESSIONS.c.row_id).where(SESSIONS.c.row_id == bindparam("row_id_")))
_PAGE = Statement(
    _ROWS.where(_OF_PROJECT).order_by(*_NEWEST_FIRST).limit(bindparam("limit_")).offset(bindparam("offset_"))
)
_COUNT = Statement(select(func.count()).select_from(SESSIONS).where(_OF_PROJECT))


def add(
    connection: Connection,
    *,
    session_id: str,
    project: str,
    request: SessionCreate,
    created_at: int,
    secrets: bytes | None = None,
    disk: str | None = None,
    files_bytes: int = 0,
) -> SessionRow:
    """Insert a pending session and return it.

    `secrets` are those of the request, encrypted; `files_bytes` is what its initial files take.
    """
    labels = request.labels or {}
    request = msgspec.structs.replace(request, labels=None)
    encoded = msgspec.json.encode(request)
    stored_bytes = len(encoded) + len(secrets or b"") + files_bytes
    row_id = connection.execute(
        insert(SESSIONS).returning(SESSIONS.c.row_id),
        {
            "id": session_id,
            "project": project,
            "status": SessionStatus.PENDING,
            "request": encoded,
            "search": _searched(session_id, request),
            "created_at": created_at,
            "last_position": 0,
            "secrets": secrets,
            "disk": disk,
            "idle_timeout": request.idle_timeout_seconds,
            "stop_on_run_finished": bool(request.stop_on_run_finished),
            "stored_bytes": stored_bytes,
            "status_changed_at": created_at,
        },
    ).scalar_one()
    _insert_labels(connection, row_id, labels)
    return SessionRow(
        row_id=row_id,
        id=session_id,
        project=project,
        status=SessionStatus.PENDING,
        request=request,
        created_at=created_at,
        stored_bytes=stored_bytes,
        completed_at=None,
        error=None,
        usage=None,
        result=None,
        model=None,
        mode=None,
        workspace_bytes=None,
        disk_bytes=0,
        labels=labels,
        active_run_id=None,
        last_run_status=None,
        has_unfinished_run=False,
        secrets=secrets,
        disk=disk,
    )


def find(connection: Connection, project: str, session_id: str, *, lock: bool = False) -> SessionRow:
    """Return the session of that project, and `lock` it until the transaction ends; `SessionNotFound`."""
    if lock:
        _LOCK_BY_ID(connection, session_id=session_id, project_=project)
    if row := _FIND_ROW(connection, session_id=session_id, project_=project).fetchone():
        return _session(row)
    raise SessionNotFound


def get(connection: Connection, row_id: int, *, lock: bool = False) -> SessionRow | None:
    """Return a session, and `lock` it until the transaction ends; None once it is deleted."""
    if lock:
        lock_row(connection, row_id)
    row = _GET_ROW(connection, row_id_=row_id).fetchone()
    return row and _session(row)


def lock_row(connection: Connection, row_id: int) -> None:
    """Lock a session until the transaction ends, as whoever changes it or its runs does first; see `leases.check`."""
    if not leases.check(connection, row_id):
        _LOCK(connection, row_id_=row_id)


def exists(connection: Connection, project: str, session_id: str) -> bool:
    """Return whether the project has a session of that id."""
    query = select(SESSIONS.c.row_id).where(SESSIONS.c.id == session_id, SESSIONS.c.project == project)
    return connection.execute(query).one_or_none() is not None


def page(connection: Connection, project: str, *, limit: int, offset: int) -> tuple[list[SessionRow], int]:
    """Return some sessions of a project, newest first, and how many it has; a short walk along an index."""
    rows = _PAGE(connection, project_=project, limit_=limit, offset_=offset)
    return [_session(row) for row in rows], _COUNT(connection, project_=project).fetchone()[0]


def matching(
    connection: Connection,
    project: str,
    *,
    limit: int,
    offset: int,
    search: str | None,
    status: Sequence[SessionStatus],
    activity: Sequence[Activity] = (),
    label: Sequence[str],
) -> tuple[list[SessionRow], int]:
    """Return some of a project's sessions that match, newest first, and how many match; may read all of them."""
    conditions: list[ColumnElement[bool]] = [SESSIONS.c.project == project]
    if search:
        conditions.append(contains(SESSIONS.c.search, search.casefold()))
    if status:
        conditions.append(SESSIONS.c.status.in_(status))
    if activity:
        conditions += [SESSIONS.c.status == SessionStatus.RUNNING, _activity(now_ms()).in_(activity)]
    for pair in label:
        key, _, value = pair.partition("=")
        labelled = select(LABELS.c.session).where(LABELS.c.key == key, LABELS.c.value == value)
        conditions.append(SESSIONS.c.row_id.in_(labelled))
    total = connection.execute(select(func.count()).select_from(SESSIONS).where(*conditions)).scalar_one()
    query = _ROWS.where(*conditions).order_by(*_NEWEST_FIRST).limit(limit).offset(offset)
    return [_session(row) for row in connection.execute(query)], total


def _activity(now: int) -> ColumnElement[str]:
    """Return the activity of a running session at a time in ms; the same that `SessionRow.public` works out."""
    open_approval = (
        select(APPROVALS.c.row_id).where(APPROVALS.c.session == SESSIONS.c.row_id, approvals.is_open(now)).exists()
    )
    return case(
        (open_approval, Activity.WAITING.value),
        (SESSION_HAS_UNFINISHED_RUN, Activity.WORKING.value),
        else_=Activity.IDLE.value,
    )


def with_status(connection: Connection, status: SessionStatus) -> list[SessionRow]:
    """Return the sessions of all projects in this state, in the order in which they came into it."""
    query = _ROWS.where(SESSIONS.c.status == status)
    return [
        _session(row) for row in connection.execute(query.order_by(SESSIONS.c.status_changed_at, SESSIONS.c.row_id))
    ]


def row_ids(connection: Connection, status: SessionStatus) -> list[int]:
    """Return the row ids of the sessions of all projects in this state."""
    return list(connection.execute(select(SESSIONS.c.row_id).where(SESSIONS.c.status == status)).scalars())


def with_queued_runs(connection: Connection) -> list[SessionRow]:
    """Return the running sessions of all projects that have a queued run."""
    with_queue = select(RUNS.c.session).where(RUNS.c.status == RunStatus.QUEUED)
    query = _ROWS.where(SESSIONS.c.status == SessionStatus.RUNNING, SESSIONS.c.row_id.in_(with_queue))
    return [_session(row) for row in connection.execute(query)]


def count(connection: Connection, status: SessionStatus) -> int:
    """Return how many sessions of all projects are in this state."""
    query = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.status == status)
    return connection.execute(query).scalar_one()


def set_status(
    connection: Connection,
    row_id: int,
    status: SessionStatus,
    *,
    completed_at: int | None = None,
    error: str | None = None,
) -> None:
    """Put a session into a state."""
    values = {"status": status, "completed_at": completed_at, "error": error, "status_changed_at": now_ms()}
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == row_id).values(values))
    mark_changed(connection, row_id)


def update_request(connection: Connection, session: SessionRow, request: SessionCreate, labels: dict[str, str]) -> None:
    """Replace the request and the labels of a session; a model or mode that has changed is not in use yet."""
    values: dict[str, Any] = {"request": msgspec.json.encode(request), "search": _searched(session.id, request)}
    if request.model != session.request.model:
        values["model"] = None
    if request.mode != session.request.mode:
        values["mode"] = None
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == session.row_id).values(values))
    connection.execute(delete(LABELS).where(LABELS.c.session == session.row_id))
    _insert_labels(connection, session.row_id, labels)


def add_usage(connection: Connection, row_id: int, usage: Usage) -> None:
    """Add the usage of a run to the session's."""
    by_row_id = SESSIONS.c.row_id == row_id
    before = connection.execute(select(SESSIONS.c.usage).where(by_row_id)).scalar_one()
    after = total((before and _decode_usage(before), usage))
    connection.execute(update(SESSIONS).where(by_row_id).values(usage=msgspec.json.encode(after)))


def set_choices(connection: Connection, row_id: int, model: str | None, mode: str | None) -> None:
    """Store the model and the mode that are in use."""
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == row_id).values(model=model, mode=mode))
    mark_changed(connection, row_id)


def set_disk_usage(connection: Connection, row_id: int, workspace: int | None, total: int) -> None:
    """Store how much of the disk the workspace takes, None in place, and all that is the session's own."""
    measured = {"workspace_bytes": workspace, "disk_bytes": total}
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == row_id).values(**measured))


def add_disk_usage(connection: Connection, row_id: int, size: int) -> None:
    """Count a file that was written, until the next measurement."""
    more = {"disk_bytes": SESSIONS.c.disk_bytes + size}
    connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == row_id).values(**more))


def remove(connection: Connection, row_id: int) -> None:
    """Delete a session with its runs and all else that belongs to it but its log."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.row_id == row_id))
    mark_changed(connection, row_id)


def _insert_labels(connection: Connection, row_id: int, labels: dict[str, str]) -> None:
    if labels:
        rows = [{"session": row_id, "key": key, "value": value} for key, value in labels.items()]
        connection.execute(insert(LABELS), rows)


def _searched(session_id: str, request: SessionCreate) -> str:
    return _SEPARATOR.join((session_id, request.display_name or "", request.task)).casefold()


def _session(row: Iterable[Any]) -> SessionRow:
    status, request, labels, usage, unfinished_run, *as_stored = row
    return SessionRow(
        _STATUSES[status],
        _decode_request(request),
        _decode_labels(labels),
        usage and _decode_usage(usage),
        unfinished_run or None,
        unfinished_run is not None,
        *as_stored,
    )
