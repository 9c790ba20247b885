"""Transcripts: the conversation of a session, or of one run, read from its log."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from app.agui.compaction import DELTAS, group_deltas
from app.agui.conversation import Conversation, Run
from app.agui.events import FullEvent
from app.agui.json_strings import escape, escaped, join_strings
from app.agui.lenient import Lenient
from app.agui.messages import content_parts, content_text, error_text, input_messages, json_text, normalize_keys
from app.agui.outcome import final_status
from app.models.output import Message

_TEXT, _REASONING, _CALL = "text", "reasoning", "call"
_TEXTS = {"TEXT_MESSAGE": _TEXT, "REASONING_MESSAGE": _REASONING, "THINKING_TEXT_MESSAGE": _REASONING}
_NOTHING = FullEvent()


class _EncryptedValue(msgspec.Struct, gc=False):
    subtype: str | None = None
    entity_id: str | None = msgspec.field(name="entityId", default=None)
    encrypted_value: str | None = msgspec.field(name="encryptedValue", default=None)


_encrypted = Lenient(_EncryptedValue)


def transcript(events: Iterable[FullEvent], *, session_running: bool = True) -> list[Message]:
    """Return the conversation of a session, or of one run if the events are of one.

    The messages of all snapshots are merged by id in order of first appearance, and the latest content wins. Messages
    after the last snapshot of a run, or all of them if there is none, are read from its input and its events. A tool
    call with a result is completed or in error. One without a result is running while its run is, in error if the run
    failed, was cancelled or never ended, and otherwise pending: its result may come with a later run.
    """
    builder = TranscriptBuilder()
    builder.feed(list(events))
    messages = b",".join(builder.messages(session_running=session_running))
    return msgspec.json.decode(b"[%b]" % messages, type=list[Message])


class TranscriptBuilder:
    """`transcript` for events that arrive in batches."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        """The conversation so far."""

    def feed(self, events: Sequence[FullEvent]) -> None:
        """Add the next events; only what the transcript shows is held."""
        for event, _, text in group_deltas(events):
            run = self.conversation.run(event.run_id)
            self._apply(event, run, join_strings([event.delta]) if text is None else text)

    def messages(self, *, session_running: bool) -> Iterator[bytes]:
        """Yield the JSON of each `Message` so far."""
        return self.conversation.messages(session_running=session_running)

    def _apply(self, event: FullEvent, run: Run, delta: bytes | None) -> None:
        """Add one event, or several deltas that belong together, the first of which is `event`."""
        part, _, step = (event.type or "").rpartition("_")
        if kind := _TEXTS.get(part):
            self._apply_text(event, run, delta, kind, step)
        elif part == "TOOL_CALL":
            self._apply_call(event, run, delta, step)
        elif event.type == "RUN_STARTED":
            self.conversation.begin_run(run, event.thread_id)
            self.conversation.add(run, input_messages(event.raw), streamed=True)
        elif event.type == "MESSAGES_SNAPSHOT":
            self.conversation.apply_snapshot(run, [normalize_keys(message) for message in event.messages or ()])
        elif event.type == "REASONING_ENCRYPTED_VALUE":
            if (value := _encrypted(event.raw)) and value.entity_id and value.encrypted_value:
                self.conversation.set_encrypted_value(
                    run, value.entity_id, value.encrypted_value, of_call=value.subtype == "tool-call"
                )
        elif status := final_status(event):
            self.conversation.end_run(run, status)

    def _apply_text(self, event: FullEvent, run: Run, delta: bytes | None, kind: str, step: str) -> None:
        match step:
            case "START" | "CONTENT" | "CHUNK":
                self._add_text(event, run, delta, kind, begins=step == "START")
            case "END":
                open_id = run.open_parts.pop(kind, None)
                if ended := event.message_id or open_id:
                    self.conversation.end_message(run, ended)

    def _apply_call(self, event: FullEvent, run: Run, delta: bytes | None, step: str) -> None:
        match step:
            case "START" | "ARGS" | "CHUNK":
                self._add_call(event, run, delta, begins=step == "START")
            case "END":
                self._end_call(event, run, run.open_parts.pop(_CALL, None))
            case "RESULT":
                self._add_result(event, run)

    def _add_text(self, event: FullEvent, run: Run, delta: bytes | None, kind: str, *, begins: bool) -> None:
        extra = _beside_delta(event, delta)
        key = event.message_id or (None if begins else run.open_parts.get(kind)) or run.new_id(kind)
        run.open_parts[kind] = key
        role = _REASONING if kind == _REASONING else extra.role or "assistant"
        draft = self.conversation.message(run, key, role, begins=begins)
        texts = draft.texts = [] if draft.texts is None else draft.texts
        texts.extend(text for text in (escaped(extra.content, content_text), delta) if text)
        draft.name = extra.name or draft.name
        if begins:
            self.conversation.set_time(draft.id, event.timestamp)

    def _add_call(self, event: FullEvent, run: Run, delta: bytes | None, *, begins: bool) -> None:
        extra = _beside_delta(event, delta)
        call_id = event.tool_call_id or (None if begins else run.open_parts.get(_CALL)) or run.new_id(_CALL)
        run.open_parts[_CALL] = call_id
        name = extra.tool_call_name or extra.snake_tool_call_name
        call = self.conversation.call(run, call_id, begins=begins or name is not None)
        self.conversation.attach(run, call, extra.parent_message_id or extra.snake_parent_message_id)
        call.name = name or call.name
        call.started = event.timestamp if call.started is None else call.started
        if delta is not None:
            call.args = [] if call.args is None else call.args
            call.args.append(delta)

    def _end_call(self, event: FullEvent, run: Run, open_id: str | None) -> None:
        result, error = escaped(event.result, json_text), error_text(event.error)
        if (call_id := event.tool_call_id or open_id) is None:
            return
        call = self.conversation.call(run, call_id)
        call.ended = True
        if result is not None or error:
            call.finish(result or escape(error or ""), failed=bool(error), at=event.timestamp)

    def _add_result(self, event: FullEvent, run: Run) -> None:
        call_id, error = event.tool_call_id, error_text(event.error)
        text = escaped(event.content, content_text) or escape(error or "")
        call = self.conversation.call_without_result(run, call_id) if call_id else None
        key = event.message_id or (f"{call.id}-result" if call else run.new_id("result"))
        draft = self.conversation.message(run, key, "tool")
        if call and draft.tool_call_id not in {None, call.id}:
            draft = self.conversation.message(run, key, "tool", begins=True)
        draft.texts, draft.parts, draft.ended = [text], content_parts(event.content), True
        draft.tool_call_id = call.id if call else None
        self.conversation.set_time(draft.id, event.timestamp)
        if call:
            wrong = bool(error or event.is_error or event.camel_is_error)
            call.finish(text, failed=wrong, at=event.timestamp)


def _beside_delta(event: FullEvent, delta: bytes | None) -> FullEvent:
    """Return the event, or an empty one if it stands for joined deltas: only the text of those counts."""
    return _NOTHING if delta is not None and event.type in DELTAS else event
