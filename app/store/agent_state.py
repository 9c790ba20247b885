"""SQL of agent states: a text that an agent stores for a thread, which outlives the agent and the server."""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from app.store.tables import MEMORIES


def get(connection: Connection, session: int, thread_id: str) -> str | None:
    """Return the state that was last saved for a thread."""
    query = select(MEMORIES.c.memory).where(MEMORIES.c.session == session, MEMORIES.c.thread_id == thread_id)
    return connection.execute(query).scalar_one_or_none()


def save(connection: Connection, session: int, thread_id: str, state: str) -> None:
    """Store the state of a thread in place of the one before."""
    row = {"session": session, "thread_id": thread_id, "memory": state}
    statement = insert(MEMORIES).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=list(MEMORIES.primary_key), set_=row))
