"""Slots for running sessions where many workers share a store: the rows say who has one, and who waits.

A session has a slot from when a worker takes it, while it is pending, until it is stopped. Sessions that wait get
theirs in the order of their requests, but for those whose disk is away.
"""

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, tuple_

from app.models.sessions import SessionStatus
from app.store import workers
from app.store.tables import INT64, SESSIONS

_LOCK = 0x736C6F7473  # an advisory lock: one session after another
_IS_PENDING: ColumnElement[bool] = SESSIONS.c.status == SessionStatus.PENDING
_HAS_SLOT: ColumnElement[bool] = or_(
    SESSIONS.c.status.in_((SessionStatus.RUNNING, SessionStatus.STOPPING)),
    and_(_IS_PENDING, SESSIONS.c.owner.is_not(None)),
)
_ORDER = SESSIONS.c.status_changed_at, SESSIONS.c.row_id


def count_free(connection: Connection, bound: int) -> int:
    """Return how many more sessions may run."""
    taken = connection.execute(select(func.count()).select_from(SESSIONS).where(_HAS_SLOT)).scalar_one()
    return max(0, bound - taken)


def is_turn(connection: Connection, session: int, bound: int) -> bool:
    """Return whether a session has a slot or is the next to get one, until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(bindparam("key", _LOCK, INT64))))
    found = connection.execute(select(*_ORDER).where(SESSIONS.c.row_id == session, _IS_PENDING)).one_or_none()
    if found is None:
        return True
    disks = {worker.disk for worker in workers.known(connection) if worker.takes_sessions}
    can_run = or_(SESSIONS.c.disk.is_(None), SESSIONS.c.disk.in_(disks))
    is_before = tuple_(*_ORDER) < tuple_(*found)
    waiting = and_(_IS_PENDING, SESSIONS.c.owner.is_(None), can_run, is_before)
    before = connection.execute(select(func.count()).select_from(SESSIONS).where(waiting)).scalar_one()
    return before < count_free(connection, bound)
