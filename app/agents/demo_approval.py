"""What the built-in agent does not do without leave: it ends its turn with a question and takes up the answer later."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from app.agents.events import event

_ASK, _DELETE = "ask:", "delete:"
_SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}


class Doubt(NamedTuple):
    """The events of the tool call in question, if it is about one, and the AG-UI interrupt."""

    events: list[bytes]
    interrupt: dict[str, Any]


def doubt(request: str) -> Doubt | None:
    """What has to be asked before a request is carried out: `delete <path>`, and `ask` because it says so."""
    if found := re.search(r"\bdelete\s+(\S+)", request, re.IGNORECASE):
        call = f"call-{uuid4().hex}"
        events = [
            event("TOOL_CALL_START", toolCallId=call, toolCallName="delete_file"),
            event("TOOL_CALL_ARGS", toolCallId=call, delta=msgspec.json.encode({"path": found[1]}).decode()),
            event("TOOL_CALL_END", toolCallId=call),
        ]
        return Doubt(events, _interrupt(_DELETE + call, "tool_call", f"Delete {found[1]}?", toolCallId=call))
    if re.search(r"\bask\b", request, re.IGNORECASE):
        return Doubt([], _interrupt(_ASK + uuid4().hex, "confirmation", "May I go on?"))
    return None


def _interrupt(id_: str, reason: str, message: str, **more: str) -> dict[str, Any]:
    return {"id": id_, "reason": reason, "message": message, "responseSchema": _SCHEMA, **more}


def settle(entry: dict[str, Any], messages: list[dict[str, Any]], workspace: Path) -> tuple[list[bytes], str]:
    """Act on one answer of `resume`: the result of the tool call, if it was about one, and what to say."""
    payload = entry.get("payload")
    approved = entry["status"] == "resolved" and isinstance(payload, dict) and payload.get("approved") is True
    id_: str = entry["interruptId"]
    if not id_.startswith(_DELETE):
        return [], "Thank you, I go on." if approved else "Then I leave it at that."
    call = id_.removeprefix(_DELETE)
    result = _delete(workspace, _path(call, messages)) if approved else "The user did not allow it."
    said = event("TOOL_CALL_RESULT", messageId=f"{call}-result", toolCallId=call, content=result, role="tool")
    return [said], result


def _path(call_id: str, messages: list[dict[str, Any]]) -> str:
    for call in (call for message in messages for call in message.get("toolCalls") or []):
        if call["id"] == call_id:
            return str(msgspec.json.decode(call["function"]["arguments"])["path"])
    return ""


def _delete(workspace: Path, name: str) -> str:
    """Remove a plain file of the workspace; a link is removed itself, never what it leads to."""
    try:
        file = (workspace / name).parent.resolve(strict=True) / Path(name).name
        if not file.is_relative_to(workspace.resolve()) or not name:
            return "That is no file of the workspace."
        file.unlink()
    except (OSError, ValueError):
        return "There is no such file."
    return f"Deleted {name}."
