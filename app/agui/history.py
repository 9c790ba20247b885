"""The earlier conversation of a thread as its agent is given it back: AG-UI messages, whole.

Content parts, encrypted values and, for agents of AG-UI 1.0, reasoning go back as they came. Activities do not, since
they are for people; nor do empty messages.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from app.agui.conversation import Conversation, Draft
from app.agui.events import FullEvent
from app.agui.lenient import Lenient
from app.agui.messages import StoredMessage, content_text, input_messages
from app.agui.transcript import TranscriptBuilder
from app.models.output import Message, ToolCall

_ROLES = frozenset({"developer", "system", "assistant", "user", "tool"})
"""The roles that every generation of AG-UI knows."""

_NO_RESULT = "The tool call ended without a result."


class _Started(msgspec.Struct, gc=False):
    protocol_version: str | None = msgspec.field(name="protocolVersion", default=None)


_started = Lenient(_Started)


def history(log: Sequence[FullEvent], *, goes_on: bool) -> list[dict[str, Any]]:
    """Return the conversation of a thread's log: calls nested in `function`, each followed by a tool message.

    A snapshot of the whole conversation replaces the messages before it, but no snapshot takes the new messages of its
    run away. A call without a result gets one if it failed, or if a user message follows, also a new one (`goes_on`):
    models refuse a conversation with an open call. A call that waits for an approval does not.
    """
    builder = TranscriptBuilder()
    snapshots = _snapshots(log)
    fed = next((each.at for each in reversed(snapshots) if each.is_whole), 0)
    for snapshot in snapshots:
        if snapshot.missing and snapshot.at >= fed:
            builder.feed(log[fed : snapshot.at + 1])
            run = builder.conversation.run(log[snapshot.at].run_id)
            builder.conversation.add(run, snapshot.missing, streamed=True)
            fed = snapshot.at + 1
    builder.feed(log[fed:])
    roles = _ROLES | {"reasoning"} if _knows_reasoning(log) else _ROLES
    return list(_messages(builder.conversation, roles, goes_on=goes_on))


def _knows_reasoning(log: Sequence[FullEvent]) -> bool:
    """Return whether the agent speaks AG-UI 1.0, or sends encrypted values, which it wants back."""
    return any(
        event.type == "REASONING_ENCRYPTED_VALUE"
        or (
            event.type == "RUN_STARTED"
            and (started := _started(event.raw)) is not None
            and (started.protocol_version or "0").partition(".")[0] not in {"", "0"}
        )
        for event in log
    )


class _Snapshot(NamedTuple):
    """A snapshot, where the log has it, and the new messages of its run that it lacks."""

    at: int
    is_whole: bool
    missing: list[StoredMessage]


def _snapshots(log: Sequence[FullEvent]) -> list[_Snapshot]:
    found: list[_Snapshot] = []
    new: dict[str | None, list[StoredMessage]] = {}
    before: list[str] = []  # the texts of the user so far, without those of the current run
    recent: list[str] = []  # those of the current run
    for index, event in enumerate(log):
        if event.type == "RUN_STARTED":
            new[event.run_id] = input_messages(event.raw)
            before, recent = before + recent, _user_texts(new[event.run_id])
        elif event.type == "MESSAGES_SNAPSHOT" and event.messages:
            added, restated = new.get(event.run_id, []), _user_texts(event.messages)
            is_old = restated == before and len(restated) > len(recent)
            is_whole = _is_whole(event.messages, added)
            missing = added if is_old else _missing(event.messages, added)
            found.append(_Snapshot(index, is_whole, missing))
            if is_whole:
                before, recent = restated, _user_texts(missing)
    return found


def _is_whole(snapshot: list[StoredMessage], new: list[StoredMessage]) -> bool:
    """Return whether a snapshot is of the whole conversation, not only of its run, which has these `new` messages."""
    restated, added = _user_texts(snapshot), _user_texts(new)
    if not restated or len(restated) > len(added):
        return bool(restated)
    return bool(added) and (snapshot[0].role, _words(snapshot[0])) != ("user", added[0])


def _missing(snapshot: list[StoredMessage], new: list[StoredMessage]) -> list[StoredMessage]:
    """Return the new messages that a snapshot does not restate: an agent may state what was before it got them."""
    ids, restated = {message.id for message in snapshot}, {_words(message) for message in snapshot}
    return [message for message in new if message.id not in ids and _words(message) not in restated]


def _user_texts(messages: list[StoredMessage]) -> list[str]:
    return [_words(message) for message in messages if message.role == "user"]


def _words(message: StoredMessage) -> str:
    """Return the text of a message as agents leave it, whatever they do to its spaces."""
    return " ".join((content_text(message.content) or "").split())


def _messages(conversation: Conversation, roles: frozenset[str], *, goes_on: bool) -> Iterator[dict[str, Any]]:
    drafts = conversation.drafts
    messages = [msgspec.json.decode(raw, type=Message) for raw in conversation.messages(session_running=False)]
    end = len(messages) if goes_on else max((i for i, each in enumerate(messages) if each.role == "user"), default=0)
    for message in messages[:end]:
        for call in message.tool_calls or []:
            call.status = "error" if call.result is None else call.status
    with_result = {message.tool_call_id for message in messages if message.role == "tool"}
    for message, draft in zip(messages, drafts, strict=True):
        if message.role in roles:
            yield from _whole(message, draft, with_result)


def _whole(message: Message, draft: Draft, with_result: set[str | None]) -> Iterator[dict[str, Any]]:
    calls = message.tool_calls or []
    content: Any = msgspec.json.decode(draft.parts) if draft.parts else message.content
    is_empty = not calls and not content and draft.encrypted_value is None
    if is_empty and message.role in {"assistant", "reasoning"}:
        return
    members = {
        "id": message.id,
        "role": message.role,
        "content": content,
        "name": message.name,
        "toolCallId": message.tool_call_id,
        "toolCalls": [_call(call, draft) for call in calls] or None,
        "encryptedValue": draft.encrypted_value,
    }
    if message.role != "assistant":
        members["content"] = content or ""
    yield {name: value for name, value in members.items() if value is not None}
    for call in calls:
        result = _NO_RESULT if call.result is None and call.status == "error" else call.result
        if result is not None and call.id not in with_result:
            yield {"id": f"{call.id}:result", "role": "tool", "toolCallId": call.id, "content": result}


def _call(call: ToolCall, draft: Draft) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": call.args or ""}
    encrypted = draft.calls[call.id].encrypted_value
    members = {"id": call.id, "type": "function", "function": function}
    return members if encrypted is None else {**members, "encryptedValue": encrypted}
