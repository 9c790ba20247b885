"""Sessions: list, create, read, change, delete."""

from app.backend import Backend
from app.models.caller import Caller
from app.models.sessions import NewSession, Session, SessionPage, SessionPatch, SessionStatus
from app.results import Created


async def list_sessions(
    backend: Backend,
    caller: Caller,
    *,
    limit: int,
    offset: int,
    search: str | None,
    status: list[SessionStatus] | None,
    label: list[str] | None,
) -> SessionPage:
    """List the project's sessions, newest first."""
    return await backend.list_sessions(
        caller, limit=limit, offset=offset, search=search, status=status or (), label=label or ()
    )


async def create_session(backend: Backend, caller: Caller, *, body: NewSession) -> Created:
    """Create a session; its task becomes the first run."""
    created = await backend.create_session(caller, body)
    return Created(created.value, f"/v1/sessions/{created.value.id}", replayed=created.replayed)


async def get_session(backend: Backend, caller: Caller, *, session_id: str) -> Session:
    """Read one session."""
    return await backend.get_session(caller, session_id)


async def update_session(backend: Backend, caller: Caller, *, session_id: str, body: SessionPatch) -> Session:
    """Change name, labels or time limit of a session."""
    return await backend.update_session(caller, session_id, body)


async def delete_session(backend: Backend, caller: Caller, *, session_id: str) -> None:
    """Delete a session, whatever its state."""
    await backend.delete_session(caller, session_id)
