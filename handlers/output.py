"""Output: a session's log of AG-UI events, and the conversation in it."""

from app.errors import BadRequest, Detail
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat, Transcript
from app.port.backend import Backend
from app.results import EventStream, StreamedBody


async def get_session_output(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    after: str | None,
    limit: int | None,
) -> Transcript | EventLog | StreamedBody:
    """Read the session's log, or a page of it, as transcript, compact events or events."""
    page = _page(format, after, limit)
    return await backend.output.get_session_output(caller, session_id, format=format, run_id=run_id, page=page)


async def stream_session_events(
    backend: Backend,
    caller: Caller,
    *,
    session_id: str,
    format: OutputFormat,
    run_id: str | None,
    after: str | None,
    last_event_id: str | None,
) -> EventStream:
    """Follow the session's log. Last-Event-ID, which a client sends when it reconnects, overrides `after`."""
    cursor = after if last_event_id is None else last_event_id
    return await backend.output.stream_session_events(caller, session_id, after=cursor, run_id=run_id, format=format)


def _page(format: OutputFormat, after: str | None, limit: int | None) -> LogPage | None:
    sent = [name for name, bound in (("after", after), ("limit", limit)) if bound is not None]
    if sent and format is OutputFormat.TRANSCRIPT:
        raise BadRequest(details=[Detail(f"query.{name}", "needs the format compact or events") for name in sent])
    return LogPage(after, limit) if sent else None
