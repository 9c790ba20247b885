"""What an agent is told: its turn's input, with the whole conversation of the thread read from the log."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.events import FULL_EVENTS, decode
from app.agui.transcript import transcript
from app.models.output import Message, ToolCall
from app.store import events
from app.store.runs import RunRow

_ROLES = frozenset({"developer", "system", "assistant", "user", "tool"})  # known to every generation of AG-UI
_UNANSWERED = "The tool call ended without a result."


def agent_input(connection: Connection, run: RunRow) -> dict[str, Any]:
    """The RunAgentInput of a run: its own, with the messages of the thread's other runs before the new ones."""
    input_: dict[str, Any] = msgspec.json.decode(run.input)
    log = events.of_thread_without(connection, run.session, run.thread_id, run.row_id)
    earlier = history(transcript(decode(log, FULL_EVENTS), session_running=False))
    new_ids = {message["id"] for message in input_["messages"]}
    answers = {message["toolCallId"] for message in input_["messages"] if message.get("toolCallId")}
    repeated = [message for message in earlier if message["id"] in new_ids or message.get("toolCallId") in answers]
    return {**input_, "messages": [message for message in earlier if message not in repeated] + input_["messages"]}


def history(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """A transcript as AG-UI messages: calls nested in `function`, each answered by a tool message right after it.

    A call that failed without a result is answered too, since models refuse a conversation with a call left open; one
    that still waits for its answer (an approval) is not. Empty messages, reasoning and activities are left out.
    """
    messages = list(messages)
    answered = {message.tool_call_id for message in messages if message.role == "tool"}
    return [each for message in messages if message.role in _ROLES for each in _messages(message, answered)]


def _messages(message: Message, answered: set[str | None]) -> Iterator[dict[str, Any]]:
    calls = message.tool_calls or []
    if message.role == "assistant" and not calls and not message.content:
        return
    plain = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "name": message.name,
        "toolCallId": message.tool_call_id,
        "toolCalls": [_call(call) for call in calls] or None,
    }
    if message.role != "assistant":
        plain["content"] = message.content or ""
    yield {key: value for key, value in plain.items() if value is not None}
    for call in calls:
        content = _UNANSWERED if call.result is None and call.status == "error" else call.result
        if content is not None and call.id not in answered:
            yield {"id": f"{call.id}:result", "role": "tool", "toolCallId": call.id, "content": content}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name or "", "arguments": call.args or ""}}
