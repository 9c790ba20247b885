"""SQL of deletions: deleted sessions whose workspaces and logs have yet to be removed.

Only a workspace that is noted here is ever removed: the data directory may hold what is not this store's.
"""

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update

from app.store.tables import DELETIONS

_COLUMNS = DELETIONS.c.row_id, DELETIONS.c.project, DELETIONS.c.id, DELETIONS.c.disk


class Deletion(msgspec.Struct, frozen=True):
    """A deleted session whose workspace and log may still exist; `row_id` and `disk` are those that it had."""

    row_id: int
    project: str
    id: str
    disk: str | None = None


def add(connection: Connection, deletion: Deletion) -> None:
    """Note a workspace and a log for removal."""
    connection.execute(insert(DELETIONS), msgspec.structs.asdict(deletion))


def pending(connection: Connection) -> list[Deletion]:
    """Return all deletions that are not finished, oldest session first."""
    return [Deletion(*row) for row in connection.execute(select(*_COLUMNS).order_by(DELETIONS.c.row_id))]


def find(connection: Connection, row_id: int) -> Deletion | None:
    """Return the deletion of the session that had this row id; None if it is finished."""
    query = select(*_COLUMNS).where(DELETIONS.c.row_id == row_id)
    row = connection.execute(query).one_or_none()
    return row and Deletion(*row)


def remove_slice(connection: Connection, log: Table, session: int, count: int) -> bool:
    """Delete at most `count` rows of a deleted session's log, oldest first; return whether there may be more."""
    oldest = select(log.c.position).where(log.c.session == session).order_by(log.c.position)
    last = connection.execute(oldest.offset(count - 1).limit(1)).scalar()
    remaining = delete(log).where(log.c.session == session)
    connection.execute(remaining if last is None else remaining.where(log.c.position <= last))
    return last is not None


def remove(connection: Connection, row_id: int) -> None:
    """Forget a deletion that is finished."""
    connection.execute(delete(DELETIONS).where(DELETIONS.c.row_id == row_id))


def leave_disk(connection: Connection, disk: str) -> None:
    """Let any worker finish the deletions on a disk that is lost."""
    connection.execute(update(DELETIONS).where(DELETIONS.c.disk == disk).values(disk=None))
