"""Output: a session's log of AG-UI events, and the conversation in it."""

from app.backend import Backend
from app.errors import BadRequest, Detail
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat, Transcript
from app.results import EventStream, StreamedBody


async def get_session_output(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    after: int | None,
    limit: int | None,
) -> Transcript | EventLog | StreamedBody:
    """Read the session's log, or a page of it, as transcript, compact events or events."""
    page = _page(format, after=after, limit=limit)
    return await backend.get_session_output(caller, session_id, format=format, run_id=run_id, page=page)


async def stream_session_events(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    after: int | None,
    last_event_id: int | None,
) -> EventStream:
    """Follow the session's log. Last-Event-ID, which a client sends when it reconnects, overrides `after`."""
    position = (after or 0) if last_event_id is None else last_event_id
    return await backend.stream_session_events(caller, session_id, after=position, run_id=run_id, format=format)


def _page(format: OutputFormat, **bounds: int | None) -> LogPage | None:
    sent = {name: bound for name, bound in bounds.items() if bound is not None}
    if sent and format is OutputFormat.TRANSCRIPT:
        raise BadRequest(details=[Detail(f"query.{name}", "needs the format compact or events") for name in sent])
    return LogPage(**sent) if sent else None
