"""Output: what the agent said and did."""

from app.backend import Backend
from app.types import Caller, EventLog, OutputFormat, Transcript


async def get_session_output(
    backend: Backend, caller: Caller, *, session_id: str, format: OutputFormat, run_id: str | None
) -> Transcript | EventLog:
    """Read the session's log as transcript, compact events or events."""
    return await backend.get_session_output(caller, session_id, format=format, run_id=run_id)
