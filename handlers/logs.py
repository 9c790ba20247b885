"""Logs: what happened behind a session."""

from app.answers import PlainText
from app.backend import Backend
from app.types import Caller


async def get_session_logs(backend: Backend, caller: Caller, *, session_id: str, tail: int) -> PlainText:
    """Read the last lines of the session's log."""
    return PlainText(await backend.get_session_logs(caller, session_id, tail=tail))
