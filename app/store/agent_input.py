"""The input of an agent's turn: the RunAgentInput of the run, with the thread's whole conversation from the log."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.events import FULL_EVENTS, decode
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
    earlier = _history(transcript(decode(log, FULL_EVENTS), session_running=False))
    return {**run_input, "messages": [message for message in earlier if not is_repeated(message)] + new}


def _history(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return a transcript as AG-UI messages: calls nested in `function`, each followed by a tool message.

    A call that failed without a result gets one too, since models refuse a conversation with an open call; a call that
    waits for an approval does not. Empty messages, reasoning and activities are left out.
    """
    messages = list(messages)
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
