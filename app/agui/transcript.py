"""A log read as a conversation: snapshots merged, and the events of what no snapshot holds yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from app.agui.compaction import DELTAS, group_deltas
from app.agui.conversation import Conversation, Run
from app.agui.events import FullEvent
from app.agui.messages import error_text, input_messages, quoted, quoted_content, quoted_json, quoted_string, settled
from app.agui.outcome import outcome
from app.models.output import Message

_NOTHING = FullEvent()


def transcript(events: Iterable[FullEvent], *, session_running: bool = True) -> list[Message]:
    """The conversation of a session, or of one run if the events are of one.

    The messages of all snapshots are merged by id in order of first appearance, the latest content winning. What a run
    says after its last snapshot, or all of it where there is none, is read from its input and its events. A tool call
    with a result is completed or in error; without one it is running while its run is, in error if that run failed,
    was cancelled or broke off, else pending: its answer may come with a later run.
    """
    telling = TranscriptBuilder()
    telling.feed(list(events))
    messages = b",".join(telling.messages(session_running=session_running))
    return msgspec.json.decode(b"[%b]" % messages, type=list[Message])


class TranscriptBuilder:
    """What `transcript` does, for events that come one by one."""

    def __init__(self) -> None:
        self._conversation = Conversation()

    def feed(self, events: Sequence[FullEvent], at: Callable[[int], FullEvent] | None = None) -> None:
        """Go on with these events, each as `at` gives it; what they repeat or replace is not kept."""
        at = at or events.__getitem__
        for start, _, text in group_deltas(events):
            if text is None:
                self._apply(at(start), quoted_string(events[start].delta))
            else:
                self._apply(events[start], text)

    def messages(self, *, session_running: bool) -> Iterator[bytes]:
        """The messages of the conversation so far, in JSON."""
        return self._conversation.messages(session_running=session_running)

    def _apply(self, event: FullEvent, delta: bytes | None) -> None:
        kind = event.type or ""
        run = self._conversation.run(event.run_id)
        if tell := _APPLIERS.get(kind):
            tell(self._conversation, run, event, delta)
        if closed := _CLOSED.get(kind):
            run.open_parts.pop(closed, None)


def _body(event: FullEvent, delta: bytes | None) -> FullEvent:
    """What there is beside a delta, of which no more is read than that."""
    return _NOTHING if delta is not None and event.type in DELTAS else event


def _begin(conversation: Conversation, run: Run, event: FullEvent, _delta: bytes | None) -> None:
    conversation.begin(run, event.thread_id)
    conversation.add(run, input_messages(event.raw), live=True)


def _end(conversation: Conversation, run: Run, event: FullEvent, _delta: bytes | None) -> None:
    if status := outcome(event):
        conversation.end(run, status)


def _apply_snapshot(conversation: Conversation, run: Run, event: FullEvent, _delta: bytes | None) -> None:
    conversation.apply_snapshot(run, [settled(message) for message in event.messages or ()])


def _append_text(
    conversation: Conversation, run: Run, event: FullEvent, delta: bytes | None, *, kind: str, begins: bool = False
) -> None:
    body = _body(event, delta)
    key = event.message_id or (None if begins else run.open_parts.get(kind)) or run.name(kind)
    run.open_parts[kind] = key
    draft = conversation.message_for(run, key, _REASONING if kind == _REASONING else body.role or "assistant")
    texts = draft.texts = [] if draft.texts is None else draft.texts
    texts.extend(text for text in (quoted_content(body.content), delta) if text)
    draft.name = body.name or draft.name
    if begins:
        conversation.date(key, event.timestamp)


def _call(conversation: Conversation, run: Run, event: FullEvent, delta: bytes | None, *, begins: bool = False) -> None:
    body = _body(event, delta)
    call_id = event.tool_call_id or (None if begins else run.open_parts.get(_CALL)) or run.name(_CALL)
    run.open_parts[_CALL] = call_id
    name = body.tool_call_name or body.snake_tool_call_name
    call = conversation.call(run, call_id, begins=begins or name is not None)
    conversation.attach(run, call, body.parent_message_id or body.snake_parent_message_id)
    call.name = name or call.name
    call.started = event.timestamp if call.started is None else call.started
    if delta is not None:
        call.args = [] if call.args is None else call.args
        call.args.append(delta)


def _end_call(conversation: Conversation, run: Run, event: FullEvent, _delta: bytes | None) -> None:
    result, error = quoted_json(event.result), error_text(event.error)
    if event.tool_call_id and (result is not None or error):
        call = conversation.call(run, event.tool_call_id)
        call.answer(result or quoted(error or ""), failed=bool(error), at=event.timestamp)


def _answer(conversation: Conversation, run: Run, event: FullEvent, _delta: bytes | None) -> None:
    call_id, error = event.tool_call_id, error_text(event.error)
    text = quoted_content(event.content) or quoted(error or "")
    draft = conversation.message_for(
        run, event.message_id or (f"{call_id}-result" if call_id else run.name("result")), "tool"
    )
    draft.texts = [text]
    draft.tool_call_id = call_id
    conversation.date(draft.id, event.timestamp)
    if call_id:
        wrong = bool(error or event.is_error or event.camel_is_error)
        conversation.call(run, call_id).answer(text, failed=wrong, at=event.timestamp)


_TEXT, _REASONING, _CALL = "text", "reasoning", "call"
_APPLIERS: dict[str, Callable[[Conversation, Run, FullEvent, bytes | None], None]] = {
    "RUN_STARTED": _begin,
    "RUN_FINISHED": _end,
    "RUN_ERROR": _end,
    "MESSAGES_SNAPSHOT": _apply_snapshot,
    "TEXT_MESSAGE_START": partial(_append_text, kind=_TEXT, begins=True),
    "TEXT_MESSAGE_CONTENT": partial(_append_text, kind=_TEXT),
    "TEXT_MESSAGE_CHUNK": partial(_append_text, kind=_TEXT),
    "REASONING_MESSAGE_START": partial(_append_text, kind=_REASONING, begins=True),
    "REASONING_MESSAGE_CONTENT": partial(_append_text, kind=_REASONING),
    "REASONING_MESSAGE_CHUNK": partial(_append_text, kind=_REASONING),
    "THINKING_TEXT_MESSAGE_START": partial(_append_text, kind=_REASONING, begins=True),
    "THINKING_TEXT_MESSAGE_CONTENT": partial(_append_text, kind=_REASONING),
    "TOOL_CALL_START": partial(_call, begins=True),
    "TOOL_CALL_ARGS": _call,
    "TOOL_CALL_CHUNK": _call,
    "TOOL_CALL_END": _end_call,
    "TOOL_CALL_RESULT": _answer,
}
_CLOSED = {
    "TEXT_MESSAGE_END": _TEXT,
    "REASONING_MESSAGE_END": _REASONING,
    "THINKING_TEXT_MESSAGE_END": _REASONING,
    "TOOL_CALL_END": _CALL,
}
