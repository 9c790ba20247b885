"""The stream of a run for AG-UI clients, which accept less than the log contains.

The official client rejects an event with a null member and a run that ends in the middle of a message, and takes a
stream that ends early for a success. So the log stays as the agent wrote it, and the client gets a `StrictStream`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from app.agui.events import Event, decode_one
from app.agui.lenient import Json, members, reader
from app.agui.lifecycle_events import OpenParts, run_error, run_started
from app.agui.message_ids import GeneratedIds
from app.agui.messages import snapshot_messages
from app.agui.older_interrupts import OlderInterrupts
from app.agui.outcome import final_status
from app.agui.strict_events import NULLABLE, Unmendable, mend_event
from app.clock import now_ms
from app.errors import ApiError
from app.models.output import OutputFormat
from app.models.runs import AcceptedRun
from app.results import EventStream, StreamEvent

_encode = msgspec.json.encode
_list: Callable[[Json], list[msgspec.Raw] | None] = reader(list[msgspec.Raw])

# The only events in which the protocol has the ids of thread and run; the log adds them to all others.
_WITH_IDS = frozenset({"RUN_STARTED", "RUN_FINISHED"})
_ADDED_IDS = frozenset({"threadId", "runId", "thread_id", "run_id"})

_string: Callable[[Json], str | None] = reader(str)
_NO_MESSAGE = "The agent reported an error."
_NO_END = ("The events of the run ended before the run did.", "run_broke_off")
_SHUTDOWN = ("The server is shutting down. Read the run later to see how it ended.", "server_restarted")


def client_stream(
    run: AcceptedRun,
    thread_id: str,
    follow: Callable[[str, OutputFormat], Awaitable[EventStream]],
    conversation: Sequence[dict[str, Any]] = (),
) -> EventStream:
    """Return the stream of an accepted run for a client that calls the thread `thread_id`.

    `follow(run_id, format)` opens the run's own stream. It is called once the client reads, when it is too late for an
    HTTP error: from then on every failure is a RUN_ERROR. For `conversation` see `StrictStream`.
    """
    stream = StrictStream(thread_id, run.run_id, conversation)

    async def pages() -> AsyncGenerator[list[StreamEvent], None]:
        try:
            source = (await follow(run.run_id, OutputFormat.EVENTS)).pages
            try:
                async for page in source:
                    yield [sent for each in page for sent in _sent(stream.feed(each.event, now_ms()), each.cursor)]
                    if stream.ended:
                        return
            finally:
                await source.aclose()
            yield _sent(stream.abort(*_NO_END, now_ms()))
        except ApiError as error:
            yield _sent(stream.abort(str(error), error.code, now_ms()))

    return EventStream(pages(), on_shutdown=lambda: _sent(stream.abort(*_SHUTDOWN, now_ms())))


def _sent(events: list[bytes], cursor: str | None = None) -> list[StreamEvent]:
    """Return events to send, the last of them with the cursor after the log's event for which they are sent."""
    return [StreamEvent(event) for event in events[:-1]] + [StreamEvent(event, cursor) for event in events[-1:]]


class StrictStream:
    """The events of one run as a strict client accepts them; `thread_id` is the client's name for the thread.

    RUN_STARTED comes first. Nothing continues or ends a message that is not open, and no member is null. Open parts are
    closed before the run ends. Exactly one terminal event ends it, after which `ended` is True.

    A client takes a snapshot of the messages for the whole conversation. Where agents put only their run into it,
    `conversation` has the messages that the client knew before. Times are in ms.
    """

    def __init__(self, thread_id: str, run_id: str, conversation: Sequence[dict[str, Any]] = ()) -> None:
        self.ended = False
        self._conversation = conversation
        self._thread_id = thread_id
        self._run_id = run_id
        self._started = False
        self._early: list[bytes] = []
        self._parts = OpenParts()
        self._ids = GeneratedIds(run_id)

    def feed(self, raw: Json, now: int) -> list[bytes]:
        """Return the events that the client gets for the run's next event.

        None if it does not fit where it is, or lacks what the client needs.
        """
        event, values = decode_one(raw, 0), members(raw)
        if self.ended or event is None or values is None or not event.type:
            return []
        if event.type == "RUN_STARTED":
            if self._started:
                return []
            self._started = True
            return [*self._adapt(event, values), *self._early]
        if event.type == "RAW" and not self._started:
            self._early += self._adapt(event, values)
            return []
        before = self._start(now)
        adapted = self._adapt(event, values)
        if not adapted or not self._parts.fits(event):
            return before
        self._parts.observe(event)
        if final_status(event):
            before += self._close_parts(now)
            self.ended = True
        return [*before, *adapted]

    def abort(self, message: str, code: str, now: int) -> list[bytes]:
        """Return RUN_ERROR and what has to come before it, or nothing if the stream has ended."""
        if self.ended:
            return []
        self.ended = True
        error = run_error(self._thread_id, self._run_id, message, code, now)
        return [*self._start(now), *self._close_parts(now), _without_ids(error)]

    def _start(self, now: int) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        return [run_started(self._thread_id, self._run_id, None, now), *self._early]

    def _close_parts(self, now: int) -> list[bytes]:
        return [_without_ids(event) for event in self._parts.close(self._thread_id, self._run_id, now)]

    def _adapt(self, event: Event, values: dict[str, msgspec.Raw]) -> list[bytes]:
        """Return an event as the client accepts it, byte for byte if nothing has to change; none if it cannot be."""
        present = _present(values, event.type)
        if event.type in _WITH_IDS:
            changes = self._client_ids(event, present) | self._older_outcome(event)
        elif event.type == "MESSAGES_SNAPSHOT":
            changes = self._whole_conversation(event, present)
        else:
            changes = self._message_members(event)
        changes |= _mended_members(event, present)
        changes = {name: value for name, value in changes.items() if bytes(present.get(name, b"")) != _encode(value)}
        whole = present | {name: msgspec.Raw(_encode(value)) for name, value in changes.items()}
        try:
            mended = mend_event(event.type or "", whole)
        except Unmendable:
            return []
        return [bytes(event.raw) if mended == values else _encode(mended)]

    def _older_outcome(self, event: Event) -> dict[str, Any]:
        """Return an outcome that is a text, as it was before 1.0, as one whose questions can be answered."""
        questions = OlderInterrupts(self._run_id).at_end(event)
        names = {"message": "message", "tool_call_id": "toolCallId", "response_schema": "responseSchema"}
        interrupts = [
            {"id": each.id, **{name: value for field, name in names.items() if (value := getattr(each, field))}}
            for each in questions
        ]
        return {"outcome": {"type": "interrupt", "interrupts": interrupts}} if interrupts else {}

    def _client_ids(self, event: Event, values: dict[str, msgspec.Raw]) -> dict[str, Any]:
        ids = {"threadId": self._thread_id, "runId": self._run_id}
        run_input = members(values.get("input", b"")) if event.type == "RUN_STARTED" else None
        return ids if run_input is None else {**ids, "input": {**run_input, **ids}}

    def _whole_conversation(self, event: Event, values: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Return the messages of a snapshot after those of the conversation that it does not repeat."""
        messages = _list(values.get("messages", b""))
        if messages is None:
            return {}
        ids = {message.id for message in snapshot_messages(event.raw)}
        before = [message for message in self._conversation if message["id"] not in ids]
        return {"messages": [*before, *messages]} if before else {}

    def _message_members(self, event: Event) -> dict[str, Any]:
        """Return the id of a message that has none, as the reasoning of some agents, and the role of reasoning."""
        changes: dict[str, Any] = {"role": "reasoning"} if event.type == "REASONING_MESSAGE_START" else {}
        if generated := self._ids.generate(event):
            event.message_id = changes["messageId"] = generated
        return changes


def _present(values: dict[str, msgspec.Raw], type_: str | None) -> dict[str, msgspec.Raw]:
    """Return the members of an event that are not null, without the ids that the log has added."""
    added = () if type_ in _WITH_IDS else _ADDED_IDS
    nullable = NULLABLE.get(type_ or "")
    return {
        name: value
        for name, value in values.items()
        if name not in added and (name == nullable or bytes(value) != b"null")
    }


def _mended_members(event: Event, values: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Return the members that a strict client requires and that follow from others of the event, or from its time."""
    changes: dict[str, Any] = {}
    if "timestamp" in values:
        changes["timestamp"] = now_ms() if event.timestamp is None else event.timestamp
    if event.type == "TOOL_CALL_RESULT" and not event.message_id and event.tool_call_id:
        changes["messageId"] = f"{event.tool_call_id}-result"
    if event.type == "RUN_ERROR" and _string(values.get("message", b"")) is None:
        changes["message"] = _NO_MESSAGE
    return changes


def _without_ids(event: bytes) -> bytes:
    return _encode(_present(members(event) or {}, None))
