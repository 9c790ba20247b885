"""The SQL of removals: workspaces of deleted sessions that are still to be removed, so that only ours ever are."""

import msgspec
from sqlalchemy import Connection, delete, insert, select

from app.store.tables import REMOVALS


class Deletion(msgspec.Struct, frozen=True):
    """A session that is deleted and whose workspace may still be there."""

    row_id: int
    project: str
    id: str


def add(connection: Connection, removal: Deletion) -> None:
    """Remember a workspace, in the transaction that deletes its session."""
    connection.execute(insert(REMOVALS), {"number": removal.row_id, "project": removal.project, "id": removal.id})


def pending(connection: Connection) -> list[Deletion]:
    """All that are not done, oldest session first."""
    columns = REMOVALS.c.number, REMOVALS.c.project, REMOVALS.c.id
    return [Deletion(*row) for row in connection.execute(select(*columns).order_by(REMOVALS.c.number))]


def done(connection: Connection, number: int) -> None:
    """Forget a workspace that is gone."""
    connection.execute(delete(REMOVALS).where(REMOVALS.c.number == number))
