"""Commands on the secrets of sessions."""

from collections.abc import Callable

from sqlalchemy import Connection, select, update

from app.store.tables import SESSIONS

_BATCH = 100


def renew_secrets(connection: Connection, after: int, renew: Callable[[bytes], bytes | None]) -> tuple[int | None, int]:
    """Replace the secrets of some sessions by what `renew` makes of them; None leaves them.

    Return the last of these sessions, after which to go on, None behind the last of all, and how many have changed.
    """
    columns = select(SESSIONS.c.row_id, SESSIONS.c.secrets).where(
        SESSIONS.c.row_id > after, SESSIONS.c.secrets.is_not(None)
    )
    rows = connection.execute(columns.order_by(SESSIONS.c.row_id).limit(_BATCH).with_for_update()).all()
    changed = 0
    for row_id, before in rows:
        if (renewed := renew(before)) is not None:
            connection.execute(update(SESSIONS).where(SESSIONS.c.row_id == row_id).values(secrets=renewed))
            changed += 1
    return rows[-1].row_id if rows else None, changed
