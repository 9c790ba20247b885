"""What the built-in agent does not do without leave: it ends its turn with a question, or asks within it."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from app.agents.events import event
from app.agents.port import Ask, Question
from app.types import ApprovalOption

_NOW = Question(
    message="May I go on?",
    options=[
        ApprovalOption(id="once", name="Yes, once", kind="allow_once"),
        ApprovalOption(id="always", name="Yes, always", kind="allow_always"),
        ApprovalOption(id="no", name="No", kind="reject_once"),
    ],
)
_ASK, _DELETE = "ask:", "delete:"
_AGREED, _REFUSED = "Thank you, I go on.", "Then I leave it at that."
_SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}


async def ask_now(ask: Ask, request: str) -> str | None:
    """What to say to the answer, where the request is to ask within the turn."""
    if not re.search(r"\bask now\b", request, re.IGNORECASE):
        return None
    answer = await ask(_NOW)
    said = _AGREED if answer.allowed else _REFUSED
    return f"{said} ({answer.option_id})"


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
        return [], _AGREED if approved else _REFUSED
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
