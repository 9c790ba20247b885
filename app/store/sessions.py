"""The SQL of sessions: rows in and out, no rules."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from app.agui.times import rfc3339
from app.agui.usage import total
from app.clock import now_ms
from app.errors import SessionNotFound
from app.models.approvals import ApprovalPolicy
from app.models.runs import RunStatus, Usage
from app.models.sessions import NewSession, Repo, Session, SessionStatus
from app.store.notifier import mark_changed
from app.store.statements import Statement
from app.store.tables import LABELS, RUNS, SESSIONS
from app.urls import without_credentials

_SEPARATOR = "\x1f"  # between the searched texts, so that no match spans two of them
_decode_request = msgspec.json.Decoder(NewSession).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_decode_usage = msgspec.json.Decoder(Usage).decode


class SessionRow(msgspec.Struct, frozen=True):
    """A session as the store knows it; times in ms, the labels apart from the request."""

    row_id: int
    id: str
    project: str
    status: SessionStatus
    request: NewSession
    created_at: int
    completed_at: int | None
    error: str | None
    usage: Usage | None
    labels: dict[str, str]
    active_run_id: str | None

    def public(self) -> Session:
        """What a client sees; the environment stays inside, and so do credentials."""
        return Session(
            id=self.id,
            status=self.status,
            display_name=self.request.display_name,
            task=self.request.task,
            model=self.request.model,
            repos=self.request.repos and [_shown(repo) for repo in self.request.repos],
            created_at=rfc3339(self.created_at),
            completed_at=rfc3339(self.completed_at),
            error=self.error,
            approval_policy=self.request.approval_policy or ApprovalPolicy.ASK,
            labels=self.labels or None,
            timeout_seconds=self.request.timeout_seconds,
            parent_session_id=self.request.parent_session_id,
            active_run_id=self.active_run_id,
            usage=self.usage,
        )


def _shown(repo: Repo) -> Repo:
    return msgspec.structs.replace(repo, url=without_credentials(repo.url))


_LABELS_AS_JSON = (
    select(func.json_group_object(LABELS.c.key, LABELS.c.value))
    .where(LABELS.c.session == SESSIONS.c.number)
    .scalar_subquery()
)
_ACTIVE_RUN = (
    select(RUNS.c.run_id)
    .where(RUNS.c.session == SESSIONS.c.number, RUNS.c.status == RunStatus.RUNNING)
    .limit(1)
    .scalar_subquery()
)
_COLUMNS = (
    SESSIONS.c.number,
    SESSIONS.c.id,
    SESSIONS.c.project,
    SESSIONS.c.status,
    SESSIONS.c.request,
    SESSIONS.c.created_at,
    SESSIONS.c.completed_at,
    SESSIONS.c.error,
    SESSIONS.c.usage,
    _LABELS_AS_JSON,
    _ACTIVE_RUN,
)
_FIND = Statement(
    select(*_COLUMNS).where(SESSIONS.c.id == bindparam("session_id"), SESSIONS.c.project == bindparam("project_"))
)
_MINE = SESSIONS.c.project == bindparam("project_")
_NEWEST_FIRST = SESSIONS.c.created_at.desc(), SESSIONS.c.id.desc()
_PAGE = Statement(
    select(*_COLUMNS).where(_MINE).order_by(*_NEWEST_FIRST).limit(bindparam("limit_")).offset(bindparam("offset_"))
)
_COUNT = Statement(select(func.count()).select_from(SESSIONS).where(_MINE))


def add(connection: Connection, *, session_id: str, project: str, request: NewSession, created_at: int) -> SessionRow:
    """A new session, pending."""
    labels = request.labels or {}
    request = msgspec.structs.replace(request, labels=None)
    number = connection.execute(
        insert(SESSIONS).returning(SESSIONS.c.number),
        {
            "id": session_id,
            "project": project,
            "status": SessionStatus.PENDING,
            "request": msgspec.json.encode(request),
            "search": _searched(session_id, request),
            "created_at": created_at,
            "last_position": 0,
            "moved_at": created_at,
        },
    ).scalar_one()
    _label(connection, number, labels)
    return SessionRow(
        number, session_id, project, SessionStatus.PENDING, request, created_at, None, None, None, labels, None
    )


def update_request(connection: Connection, session: SessionRow, request: NewSession, labels: dict[str, str]) -> None:
    """Change what is asked of a session, and its labels."""
    values = {"request": msgspec.json.encode(request), "search": _searched(session.id, request)}
    connection.execute(update(SESSIONS).where(SESSIONS.c.number == session.row_id).values(values))
    connection.execute(delete(LABELS).where(LABELS.c.session == session.row_id))
    _label(connection, session.row_id, labels)


def add_usage(connection: Connection, number: int, used: Usage) -> None:
    """Add what a run has used to the session's sum."""
    mine = SESSIONS.c.number == number
    before = connection.execute(select(SESSIONS.c.usage).where(mine)).scalar_one()
    summed = total((before and _decode_usage(before), used))
    connection.execute(update(SESSIONS).where(mine).values(usage=msgspec.json.encode(summed)))


def find(connection: Connection, project: str, session_id: str) -> SessionRow:
    """The session of that project; `SessionNotFound`."""
    if row := _FIND(connection, session_id=session_id, project_=project).fetchone():
        return _session(row)
    raise SessionNotFound


def exists(connection: Connection, project: str, session_id: str) -> bool:
    """Whether the project has a session of that id."""
    query = select(SESSIONS.c.number).where(SESSIONS.c.id == session_id, SESSIONS.c.project == project)
    return connection.execute(query).one_or_none() is not None


def get(connection: Connection, number: int) -> SessionRow | None:
    """The session of that number, or None once it is deleted."""
    row = connection.execute(select(*_COLUMNS).where(SESSIONS.c.number == number)).one_or_none()
    return row and _session(row)


def page(connection: Connection, project: str, *, limit: int, offset: int) -> tuple[list[SessionRow], int]:
    """Some sessions of a project, newest first, and how many it has: a short walk along an index."""
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
    label: Sequence[str],
) -> tuple[list[SessionRow], int]:
    """Some of those sessions of a project that match, newest first, and how many there are."""
    conditions: list[ColumnElement[bool]] = [SESSIONS.c.project == project]
    if search:
        conditions.append(func.instr(SESSIONS.c.search, search.casefold()) > 0)
    if status:
        conditions.append(SESSIONS.c.status.in_(status))
    for wanted in label:
        key, _, value = wanted.partition("=")
        labelled = select(LABELS.c.session).where(LABELS.c.key == key, LABELS.c.value == value)
        conditions.append(SESSIONS.c.number.in_(labelled))
    total = connection.execute(select(func.count()).select_from(SESSIONS).where(*conditions)).scalar_one()
    query = select(*_COLUMNS).where(*conditions).order_by(*_NEWEST_FIRST).limit(limit).offset(offset)
    return [_session(row) for row in connection.execute(query)], total


def in_state(connection: Connection, status: SessionStatus) -> list[SessionRow]:
    """All sessions of all projects that are in this state, in the order in which they came into it."""
    query = select(*_COLUMNS).where(SESSIONS.c.status == status)
    return [_session(row) for row in connection.execute(query.order_by(SESSIONS.c.moved_at, SESSIONS.c.number))]


def numbers(connection: Connection, status: SessionStatus) -> list[int]:
    """The numbers of all sessions of all projects that are in this state."""
    return list(connection.execute(select(SESSIONS.c.number).where(SESSIONS.c.status == status)).scalars())


def with_queue(connection: Connection) -> list[SessionRow]:
    """All running sessions that have a run in their queue."""
    waiting = select(RUNS.c.session).where(RUNS.c.status == RunStatus.QUEUED)
    query = select(*_COLUMNS).where(SESSIONS.c.status == SessionStatus.RUNNING, SESSIONS.c.number.in_(waiting))
    return [_session(row) for row in connection.execute(query)]


def count(connection: Connection, status: SessionStatus) -> int:
    """How many sessions of all projects are in this state."""
    query = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.status == status)
    return connection.execute(query).scalar_one()


def move(
    connection: Connection,
    number: int,
    status: SessionStatus,
    *,
    completed_at: int | None = None,
    error: str | None = None,
) -> None:
    """Put a session into a state."""
    values = {"status": status, "completed_at": completed_at, "error": error, "moved_at": now_ms()}
    connection.execute(update(SESSIONS).where(SESSIONS.c.number == number).values(values))


def remove(connection: Connection, number: int) -> None:
    """Delete a session, its runs and its log."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.number == number))
    mark_changed(connection, number)


def _label(connection: Connection, number: int, labels: dict[str, str]) -> None:
    if labels:
        rows = [{"session": number, "key": key, "value": value} for key, value in labels.items()]
        connection.execute(insert(LABELS), rows)


def _searched(session_id: str, request: NewSession) -> str:
    return _SEPARATOR.join((session_id, request.display_name or "", request.task)).casefold()


def _session(row: Iterable[Any]) -> SessionRow:
    number, session_id, project, status, request, created_at, completed_at, error, usage, labels, active_run_id = row
    return SessionRow(
        row_id=number,
        id=session_id,
        project=project,
        status=SessionStatus(status),
        request=_decode_request(request),
        created_at=created_at,
        completed_at=completed_at,
        error=error,
        usage=usage and _decode_usage(usage),
        labels=_decode_labels(labels),
        active_run_id=active_run_id,
    )
