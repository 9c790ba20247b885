"""The SQL of sessions: rows in and out, no rules."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, insert, select, update

from app.agui.times import rfc3339
from app.backends.embedded.bell import touch
from app.backends.embedded.clock import now_ms
from app.backends.embedded.tables import RUNS, SESSIONS
from app.errors import SessionNotFound
from app.types import ApprovalPolicy, NewSession, RunStatus, Session, SessionStatus

_SEPARATOR = "\x1f"  # between the searched texts, so that no match spans two of them
_decode_request = msgspec.json.Decoder(NewSession).decode


class SessionRow(msgspec.Struct, frozen=True):
    """A session as the store knows it; times in ms."""

    number: int
    id: str
    project: str
    status: SessionStatus
    request: NewSession
    created_at: int
    completed_at: int | None
    error: str | None

    def public(self) -> Session:
        """What a client sees; the environment stays inside."""
        return Session(
            id=self.id,
            status=self.status,
            display_name=self.request.display_name,
            task=self.request.task,
            model=self.request.model,
            repos=self.request.repos,
            created_at=rfc3339(self.created_at),
            completed_at=rfc3339(self.completed_at),
            error=self.error,
            approval_policy=self.request.approval_policy or ApprovalPolicy.ASK,
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
)
# Made once, since nearly every request asks it.
_FIND = select(*_COLUMNS).where(SESSIONS.c.id == bindparam("session_id"), SESSIONS.c.project == bindparam("project_"))


def add(connection: Connection, *, session_id: str, project: str, request: NewSession, created_at: int) -> SessionRow:
    """A new session, pending."""
    searched = _SEPARATOR.join((session_id, request.display_name or "", request.task)).casefold()
    number = connection.execute(
        insert(SESSIONS).returning(SESSIONS.c.number),
        {
            "id": session_id,
            "project": project,
            "status": SessionStatus.PENDING,
            "request": msgspec.json.encode(request),
            "search": searched,
            "created_at": created_at,
            "last_position": 0,
            "moved_at": created_at,
        },
    ).scalar_one()
    return SessionRow(number, session_id, project, SessionStatus.PENDING, request, created_at, None, None)


def find(connection: Connection, project: str, session_id: str) -> SessionRow:
    """The session of that project; `SessionNotFound`."""
    if row := connection.execute(_FIND, {"session_id": session_id, "project_": project}).one_or_none():
        return _session(row)
    raise SessionNotFound


def get(connection: Connection, number: int) -> SessionRow | None:
    """The session of that number, or None once it is deleted."""
    row = connection.execute(select(*_COLUMNS).where(SESSIONS.c.number == number)).one_or_none()
    return row and _session(row)


def page(
    connection: Connection,
    project: str,
    *,
    limit: int,
    offset: int,
    search: str | None,
    status: Sequence[SessionStatus],
) -> tuple[list[SessionRow], int]:
    """Some sessions of a project, newest first, and how many match in all."""
    conditions: list[ColumnElement[bool]] = [SESSIONS.c.project == project]
    if search:
        conditions.append(func.instr(SESSIONS.c.search, search.casefold()) > 0)
    if status:
        conditions.append(SESSIONS.c.status.in_(status))
    total = connection.execute(select(func.count()).select_from(SESSIONS).where(*conditions)).scalar_one()
    newest_first = SESSIONS.c.created_at.desc(), SESSIONS.c.id.desc()
    query = select(*_COLUMNS).where(*conditions).order_by(*newest_first).limit(limit).offset(offset)
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
    touch(connection, number)


def _session(row: Row[*tuple[Any, ...]]) -> SessionRow:
    number, session_id, project, status, request, created_at, completed_at, error = row
    return SessionRow(
        number, session_id, project, SessionStatus(status), _decode_request(request), created_at, completed_at, error
    )
