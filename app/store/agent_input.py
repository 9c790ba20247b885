"""The input of an agent's turn: the RunAgentInput of the run, with the thread's whole conversation from the log."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.events import FULL_EVENTS, FullEvent, decode
from app.agui.messages import StoredMessage, content_text, input_messages
from app.agui.run_input import RunInput
from app.agui.transcript import transcript
from app.models.output import Message, ToolCall
from app.store import events
from app.store.runs import RunRow

_ROLES = frozenset({"developer", "system", "assistant", "user", "tool"})  # known to every generation of AG-UI
_NO_RESULT = "The tool call ended without a result."


def agent_input(connection: Connection, run: RunRow) -> RunInput:
    """Return the run's own input with the messages of the thread's other runs before its new ones.

    A message that the new ones repeat, by its id or as the result of the same tool call, is taken from them. Takes as
    long as the log is long.
    """
    run_input: RunInput = msgspec.json.decode(run.input)
    new = run_input["messages"]
    new_ids = {message["id"] for message in new}
    new_results = {message["toolCallId"] for message in new if message.get("toolCallId")}

    def is_repeated(message: dict[str, Any]) -> bool:
        return message["id"] in new_ids or message.get("toolCallId") in new_results

    log = events.of_other_runs(connection, run.session, run.thread_id, run.row_id)
    recorded = _since_snapshot(list(decode(log, FULL_EVENTS)))
    goes_on = "resume" not in run_input and any(message.get("role") == "user" for message in new)
    earlier = _history(transcript(recorded, session_running=False), goes_on=goes_on)
    return {**run_input, "messages": [message for message in earlier if not is_repeated(message)] + new}


def _since_snapshot(log: list[FullEvent]) -> list[FullEvent]:
    """Return the events from the last snapshot of the whole conversation on, which replaces what was before."""
    new: dict[str | None, list[StoredMessage]] = {}
    start = 0
    for index, event in enumerate(log):
        if event.type == "RUN_STARTED":
            new[event.run_id] = input_messages(event.raw)
        elif event.type == "MESSAGES_SNAPSHOT" and _is_whole(event.messages or [], new.get(event.run_id, [])):
            start = index
    return log[start:]


def _is_whole(snapshot: list[StoredMessage], new: list[StoredMessage]) -> bool:
    """Return whether a snapshot is of the whole conversation, not only of its run, which has these `new` messages."""
    restated, added = _user_texts(snapshot), _user_texts(new)
    if not restated or len(restated) > len(added):
        return bool(restated)
    return bool(added) and (snapshot[0].role, content_text(snapshot[0].content)) != ("user", added[0])


def _user_texts(messages: list[StoredMessage]) -> list[str | None]:
    return [content_text(message.content) for message in messages if message.role == "user"]


def _history(messages: Iterable[Message], *, goes_on: bool) -> list[dict[str, Any]]:
    """Return a transcript as AG-UI messages: calls nested in `function`, each followed by a tool message.

    A call without a result gets one too if it failed, or if a user message follows, also a new one (`goes_on`): models
    refuse a conversation with an open call. A call that waits for an approval does not. Empty messages, reasoning and
    activities are left out.
    """
    messages = list(messages)
    end = len(messages) if goes_on else max((i for i, each in enumerate(messages) if each.role == "user"), default=0)
    for message in messages[:end]:
        for call in message.tool_calls or []:
            call.status = "error" if call.result is None else call.status
    with_result = {message.tool_call_id for message in messages if message.role == "tool"}
    return [each for message in messages if message.role in _ROLES for each in _messages(message, with_result)]


def _messages(message: Message, with_result: set[str | None]) -> Iterator[dict[str, Any]]:
    calls = message.tool_calls or []
    if message.role == "assistant" and not calls and not message.content:
        return
    members = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "name": message.name,
        "toolCallId": message.tool_call_id,
        "toolCalls": [_call(call) for call in calls] or None,
    }
    if message.role != "assistant":
        members["content"] = message.content or ""
    yield {name: value for name, value in members.items() if value is not None}
    for call in calls:
        content = _NO_RESULT if call.result is None and call.status == "error" else call.result
        if content is not None and call.id not in with_result:
            yield {"id": f"{call.id}:result", "role": "tool", "toolCallId": call.id, "content": content}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name or "", "arguments": call.args or ""}}
