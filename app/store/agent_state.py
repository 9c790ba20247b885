"""SQL of agent states: a text that an agent stores for a thread, which outlives the agent and the server."""

from sqlalchemy import Connection, insert, select, update

from app.store.tables import AGENT_STATES


def get(connection: Connection, session: int, thread_id: str) -> str | None:
    """Return the state that was last saved for a thread."""
    query = select(AGENT_STATES.c.state).where(AGENT_STATES.c.session == session, AGENT_STATES.c.thread_id == thread_id)
    return connection.execute(query).scalar_one_or_none()


def save(connection: Connection, session: int, thread_id: str, state: str) -> None:
    """Store the state of a thread in place of the one before."""
    row = update(AGENT_STATES).where(AGENT_STATES.c.session == session, AGENT_STATES.c.thread_id == thread_id)
    if not connection.execute(row.values(state=state)).rowcount:
        connection.execute(insert(AGENT_STATES), {"session": session, "thread_id": thread_id, "state": state})
