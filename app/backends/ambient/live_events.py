"""Lines of the platform's live stream as the events that the export will have.

The platform sends what a runner wrote, before it adds ids: text and tool events come with ids in snake_case, a run's
last snapshot with none. Here they are completed as the platform completes them: `runId` and `threadId` filled in, keys
sorted, what HTML knows escaped.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from app.agui.events import Event, decode_one
from app.agui.lenient import Json, reader

_decode: Callable[[Json], Any] = reader(Any)
_encode = msgspec.json.Encoder(order="sorted").encode
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)

Members = dict[str, Any]


class OpenRuns:
    """The runs of a log that have not ended, in the order in which they appeared, and whose messages are whose."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._threads: dict[str, str] = {}
        self._started: dict[str, None] = {}
        self._owners: dict[str, str] = {}
        self._owned: dict[str, list[str]] = {}  # the messages of each run, so that an end costs its own run only

    @property
    def any(self) -> bool:
        """Return whether there are any."""
        return bool(self._threads)

    def add(self, event: Event) -> None:
        """Go on with the log's next event."""
        run_id = event.run_id
        if run_id is None:
            return
        if event.type in {"RUN_FINISHED", "RUN_ERROR"}:
            self._threads.pop(run_id, None)
            self._started.pop(run_id, None)
            for message in self._owned.pop(run_id, ()):
                if self._owners.get(message) == run_id:
                    del self._owners[message]
            return
        if event.type == "RUN_STARTED":
            self._started[run_id] = None
        self._threads[run_id] = event.thread_id or self._threads.get(run_id) or self._session_id
        if event.type in {"RUN_STARTED", "MESSAGES_SNAPSHOT"}:
            self._own(_decode(event.raw), run_id)
        elif event.type in {"TEXT_MESSAGE_START", "TOOL_CALL_START"} and (
            id_ := event.message_id or event.tool_call_id
        ):
            self._note_owner(id_, run_id)

    def complete(self, line: bytes) -> Event | None:
        """Return a line as an event of the log, with position 0; None if it is not a JSON object."""
        values = _decode(line)
        if not isinstance(values, dict):
            return None
        run_id = _text(values, "runId") or _text(values, "run_id") or self._owner(values)
        if run_id:
            values["runId"] = run_id
        thread_id = _text(values, "threadId") or _text(values, "thread_id") or self._threads.get(run_id or "")
        values["threadId"] = thread_id or self._session_id
        text = _encode(values)
        for character, escape in _ESCAPES:
            text = text.replace(character, escape)
        return decode_one(text, 0)

    def _owner(self, values: Members) -> str | None:
        """Return the run of an event without a run id: that of its messages, or else the first one that has begun."""
        for message in reversed(_messages(values)):
            if owner := self._owners.get(message):
                return owner
        for name in ("messageId", "toolCallId"):
            if owner := self._owners.get(_text(values, name) or ""):
                return owner
        return next(iter(self._started), None)

    def _own(self, values: Any, run_id: str) -> None:
        given = values.get("input") if values.get("type") == "RUN_STARTED" else values
        for message in _messages(given):
            self._note_owner(message, run_id)

    def _note_owner(self, message: str, run_id: str) -> None:
        if self._owners.get(message) != run_id:
            self._owners[message] = run_id
            self._owned.setdefault(run_id, []).append(message)


def _messages(values: Any) -> list[str]:
    messages = values.get("messages") if isinstance(values, dict) else None
    found = [_text(one, "id") for one in messages or () if isinstance(one, dict)] if isinstance(messages, list) else []
    return [one for one in found if one]


def _text(values: Members, name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None
