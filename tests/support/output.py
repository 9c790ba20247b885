"""Reading whole logs from a backend."""

import msgspec

from app.models.caller import Caller
from app.models.output import Message, OutputFormat
from app.port.backend import Backend
from app.results import StreamedBody


async def stored_events(
    backend: Backend,
    caller: Caller,
    session_id: str,
    format: OutputFormat = OutputFormat.EVENTS,
    run_id: str | None = None,
) -> list[msgspec.Raw]:
    """Return the events of a log, or of one run, in any format but the transcript."""
    return msgspec.json.decode(await _whole(backend, caller, session_id, format, run_id), type=list[msgspec.Raw])


async def transcript(backend: Backend, caller: Caller, session_id: str, run_id: str | None = None) -> list[Message]:
    """Return the messages of a log, or of one run."""
    messages = await _whole(backend, caller, session_id, OutputFormat.TRANSCRIPT, run_id)
    return msgspec.json.decode(messages, type=list[Message])


async def _whole(
    backend: Backend, caller: Caller, session_id: str, format: OutputFormat, run_id: str | None
) -> msgspec.Raw:
    output = await backend.output.get_session_output(caller, session_id, format=format, run_id=run_id)
    assert isinstance(output, StreamedBody)
    pieces = [piece async for piece in output.chunks]
    assert all(pieces)
    body = msgspec.json.decode(b"".join(pieces), type=dict[str, msgspec.Raw])
    found = "messages" if format is OutputFormat.TRANSCRIPT else "events"
    assert body.keys() == {"session_id", "format", found}
    assert [msgspec.json.decode(body[key]) for key in ("session_id", "format")] == [session_id, format]
    return body[found]
