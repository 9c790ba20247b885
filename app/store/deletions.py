"""SQL of deletions: deleted sessions whose workspaces and logs have yet to be removed.

Only a workspace that is noted here is ever removed: the data directory may hold what is not this store's.
"""

import msgspec
from sqlalchemy import Connection, delete, insert, select

from app.store.tables import DELETIONS


class Deletion(msgspec.Struct, frozen=True):
    """A deleted session whose workspace and log may still exist; `row_id` is the one that the session had."""

    row_id: int
    project: str
    id: str


def add(connection: Connection, deletion: Deletion) -> None:
    """Note a workspace and a log for removal."""
    connection.execute(insert(DELETIONS), {"row_id": deletion.row_id, "project": deletion.project, "id": deletion.id})


def pending(connection: Connection) -> list[Deletion]:
    """Return all deletions that are not finished, oldest session first."""
    columns = DELETIONS.c.row_id, DELETIONS.c.project, DELETIONS.c.id
    return [Deletion(*row) for row in connection.execute(select(*columns).order_by(DELETIONS.c.row_id))]


def remove(connection: Connection, row_id: int) -> None:
    """Forget a deletion that is finished."""
    connection.execute(delete(DELETIONS).where(DELETIONS.c.row_id == row_id))
