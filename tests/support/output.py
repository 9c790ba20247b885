"""What a backend answers to whoever reads a log."""

import msgspec

from app.answers import JsonPieces
from app.backend import Backend
from app.types import Caller, OutputFormat


async def stored_events(
    backend: Backend,
    caller: Caller,
    session_id: str,
    format: OutputFormat = OutputFormat.EVENTS,
    run_id: str | None = None,
) -> list[msgspec.Raw]:
    """The events of a whole log, or of one run, in a format other than the transcript; they have to come in pieces."""
    answer = await backend.get_session_output(caller, session_id, format=format, run_id=run_id)
    assert isinstance(answer, JsonPieces)
    pieces = [piece async for piece in answer.pieces]
    assert all(pieces)
    body = msgspec.json.decode(b"".join(pieces), type=dict[str, msgspec.Raw])
    assert body.keys() == {"session_id", "format", "events"}
    assert [msgspec.json.decode(body[key]) for key in ("session_id", "format")] == [session_id, format]
    return msgspec.json.decode(body["events"], type=list[msgspec.Raw])
