"""Output: what the agent said and did."""

from app.backend import Backend
from app.errors import BadRequest, Detail
from app.types import Caller, EventLog, OutputFormat, Page, Transcript


async def get_session_output(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    after: int | None,
    limit: int | None,
) -> Transcript | EventLog:
    """Read the session's log, or a page of it, as transcript, compact events or events."""
    page = _page(format, after=after, limit=limit)
    return await backend.get_session_output(caller, session_id, format=format, run_id=run_id, page=page)


def _page(format: OutputFormat, **given: int | None) -> Page | None:
    sent = {name: value for name, value in given.items() if value is not None}
    if sent and format is OutputFormat.TRANSCRIPT:
        raise BadRequest(details=[Detail(f"query.{name}", "needs the format compact or events") for name in sent])
    return Page(**sent) if sent else None
