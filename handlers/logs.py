"""Logs: what happened behind a session."""

from app.backend import Backend
from app.models.caller import Caller
from app.results import TextResponse


async def get_session_logs(backend: Backend, caller: Caller, *, session_id: str, tail: int) -> TextResponse:
    """Read the last lines of the session's log."""
    return TextResponse(await backend.get_session_logs(caller, session_id, tail=tail))
