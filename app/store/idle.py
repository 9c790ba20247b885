"""When sessions that have nothing to do are to be stopped, each by its own time limit and the server's."""

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from app.models.sessions import SessionStatus
from app.store.runs import SESSION_HAS_UNFINISHED_RUN
from app.store.tables import RUNS, SESSIONS

_LAST_END = select(func.max(RUNS.c.finished_at)).where(RUNS.c.session == SESSIONS.c.row_id).scalar_subquery()
_HAS_ENDED_RUN = SESSIONS.c.status_changed_at <= _LAST_END  # since it was started
_IDLE_SINCE = case((_HAS_ENDED_RUN, _LAST_END), else_=SESSIONS.c.status_changed_at)
_IS_IDLE = and_(SESSIONS.c.status == SessionStatus.RUNNING, ~SESSION_HAS_UNFINISHED_RUN)


def deadlines(connection: Connection, limit: float | None) -> dict[int, int]:
    """Return by row id when, in ms, sessions that are idle now are to be stopped; those that are to stay are left out.

    `limit` in seconds is the server's, None: it has none. A session may have open approvals, with which it stays.
    """
    return _deadlines(connection, limit, _IS_IDLE)


def deadline(connection: Connection, row_id: int, limit: float | None) -> int | None:
    """Return when, in ms, a session is to be stopped if it is idle; None: never. See `deadlines`."""
    return _deadlines(connection, limit, and_(_IS_IDLE, SESSIONS.c.row_id == row_id)).get(row_id)


def _deadlines(connection: Connection, limit: float | None, condition: ColumnElement[bool]) -> dict[int, int]:
    own = SESSIONS.c.idle_timeout * 1000
    limit_ms = None if limit is None else round(limit * 1000)
    timeout = own if limit_ms is None else case((own < limit_ms, own), else_=limit_ms)
    at = case((and_(SESSIONS.c.stop_on_run_finished, _HAS_ENDED_RUN), _LAST_END), else_=_IDLE_SINCE + timeout)
    if limit_ms is None:
        condition = and_(condition, or_(SESSIONS.c.stop_on_run_finished, SESSIONS.c.idle_timeout.is_not(None)))
    rows = connection.execute(select(SESSIONS.c.row_id, at).where(condition))
    return {row_id: moment for row_id, moment in rows if moment is not None}
