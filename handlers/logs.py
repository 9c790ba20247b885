"""Logs: the text log of a session."""

from app.models.caller import Caller
from app.port.backend import Backend


async def get_session_logs(backend: Backend, caller: Caller, *, session_id: str, tail: int) -> str:
    """Read the last lines of the session's log."""
    return await backend.output.get_session_logs(caller, session_id, tail=tail)
