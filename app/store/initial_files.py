"""SQL of initial files: what a client attached to the task of a session, before there was a workspace to save it in."""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from app.store.tables import INITIAL_FILES


def add(connection: Connection, session: int, files: Mapping[str, bytes]) -> None:
    """Store the files of a session, by their paths in its workspace."""
    if files:
        rows = [{"session": session, "path": path, "content": content} for path, content in files.items()]
        connection.execute(insert(INITIAL_FILES), rows)


def of_session(connection: Connection, session: int) -> dict[str, bytes]:
    """Return the files of a session by their paths."""
    query = select(INITIAL_FILES.c.path, INITIAL_FILES.c.content).where(INITIAL_FILES.c.session == session)
    return {row.path: row.content for row in connection.execute(query)}
