"""Sessions: list, create, read, update, delete."""

from app.attachments import check
from app.models.caller import Caller
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.port.backend import Backend
from app.results import Idempotent


async def list_sessions(
    backend: Backend,
    caller: Caller,
    *,
    limit: int,
    offset: int,
    search: str | None,
    status: list[SessionStatus] | None,
    activity: list[Activity] | None,
    label: list[str] | None,
) -> SessionPage:
    """List the project's sessions, newest first."""
    return await backend.sessions.list_sessions(
        caller,
        limit=limit,
        offset=offset,
        search=search,
        status=status or (),
        activity=activity or (),
        label=label or (),
    )


async def create_session(backend: Backend, caller: Caller, *, body: SessionCreate) -> Idempotent[CreatedSession]:
    """Create a session; its task becomes the first run."""
    check(body.attachments)
    return await backend.sessions.create_session(caller, body)


async def get_session(backend: Backend, caller: Caller, *, session_id: str, wait: int) -> Session:
    """Read one session, once it is neither pending nor working or after `wait` seconds."""
    return await backend.sessions.get_session(caller, session_id, wait=wait)


async def update_session(backend: Backend, caller: Caller, *, session_id: str, body: SessionUpdate) -> Session:
    """Change the name, labels or time limit of a session."""
    return await backend.sessions.update_session(caller, session_id, body)


async def delete_session(backend: Backend, caller: Caller, *, session_id: str) -> None:
    """Delete a session, whatever its status."""
    await backend.sessions.delete_session(caller, session_id)
