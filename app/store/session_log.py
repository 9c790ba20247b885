"""SQL of session logs: for each session the newest lines of its text log.

A line is stored at the position of its end in bytes, counted from the session's first line on. So the lines that are
too old are those before a position, however long each of them is.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from app.store import sessions
from app.store.statements import Statement
from app.store.tables import SESSION_LOG, SESSIONS

MAX_BYTES = 2**20
"""How much of a session's log stays at least."""
SLICE_BYTES = 2**16
"""How much more there may be before the oldest lines are removed."""

_OF_SESSION = SESSION_LOG.c.session == bindparam("session_")
_EXISTS = Statement(select(SESSIONS.c.row_id).where(SESSIONS.c.row_id == bindparam("session_")))
_NEWEST_FIRST = select(SESSION_LOG.c.position, SESSION_LOG.c.line).where(_OF_SESSION)
_TAIL = Statement(_NEWEST_FIRST.order_by(SESSION_LOG.c.position.desc()).limit(bindparam("count_")))
_INSERTED = ("session", "position", "line")
_INSERT = Statement(insert(SESSION_LOG).values({name: bindparam(name) for name in _INSERTED}))


def append(connection: Connection, session: int, lines: Sequence[str]) -> None:
    """Append lines, none of them empty, to a session's log; nothing once the session is deleted."""
    sessions.lock_row(connection, session)
    if _EXISTS(connection, session_=session).fetchone() is None:
        return
    last = _TAIL(connection, session_=session, count_=1).fetchone()
    start = position = last[0] if last else 0
    rows = []
    for line in lines:
        position += len(line.encode())
        rows.append({"session": session, "position": position, "line": line})
    _INSERT.execute_many(connection, rows)
    if position // SLICE_BYTES != start // SLICE_BYTES:
        too_old = SESSION_LOG.c.position <= position - MAX_BYTES
        connection.execute(delete(SESSION_LOG).where(SESSION_LOG.c.session == session, too_old))


def tail(connection: Connection, session: int, count: int) -> list[str]:
    """Return the last lines of a session's log, oldest first."""
    return [line for _, line in _TAIL(connection, session_=session, count_=count)][::-1]
