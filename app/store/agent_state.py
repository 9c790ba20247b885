"""The SQL of memories: what a session's agent wants to know again of a thread, after its own end and the server's."""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from app.store import runs
from app.store.runs import RunRow
from app.store.tables import MEMORIES


def get(connection: Connection, session: int, thread_id: str) -> str | None:
    """What was kept last for a thread."""
    found = select(MEMORIES.c.memory).where(MEMORIES.c.session == session, MEMORIES.c.thread_id == thread_id)
    return connection.execute(found).scalar_one_or_none()


def save(connection: Connection, memory: str, run: RunRow) -> None:
    """Keep it for the thread of a run that is under way; an agent that was left behind has no say any more."""
    if not runs.is_active(connection, run.row_id):
        return
    new = {"session": run.session, "thread_id": run.thread_id, "memory": memory}
    kept = insert(MEMORIES).values(new)
    connection.execute(kept.on_conflict_do_update(index_elements=list(MEMORIES.primary_key), set_=new))
