"""Lifecycle: start, stop, interrupt."""

from app.models.caller import Caller
from app.models.runs import InterruptResult
from app.models.sessions import Session
from app.port.backend import Backend


async def start_session(backend: Backend, caller: Caller, *, session_id: str) -> Session:
    """Start a session that has ended again."""
    return await backend.sessions.start_session(caller, session_id)


async def stop_session(backend: Backend, caller: Caller, *, session_id: str) -> Session:
    """Stop a session and its runs."""
    return await backend.sessions.stop_session(caller, session_id)


async def interrupt_session(backend: Backend, caller: Caller, *, session_id: str) -> InterruptResult:
    """Cancel the current run; the session keeps running."""
    return await backend.runs.interrupt_session(caller, session_id)
