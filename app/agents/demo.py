"""The built-in agent, without a model or a network. Words in the last user message select an action.

    write PATH TEXT    a tool call that writes a file; `append` adds a line to one
    list, files        a tool call that lists the workspace
    slow N             N ticks, one every tenth of a second
    fail               a run that ends with an error
    delete PATH        an approval between turns, and a tool call that deletes the file
    ask                an approval between turns, without a tool call
    ask now            an approval within the turn
    what did I say     the earlier messages
    anything else      an echo with the names of attached files, and how to use the agent

Approvals between turns are AG-UI interrupts: the run ends with one, and the decision comes as `resume` of a later run.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from app.agents.demo_workspace import MAX_ENTRIES, delete_file, list_workspace, write_file
from app.agents.port import Agent, Turn
from app.agui.content_parts import Media, read_media
from app.agui.events import encode_event
from app.agui.messages import text_parts
from app.models.approvals import ApprovalOption, ApprovalRequest

MAX_TICKS = 3000
MAX_QUOTE = 500  # characters of a message that are repeated
MAX_RECALLED = 10  # messages
WORD_SECONDS = 0.01
TICK_SECONDS = 0.1

HELP = (
    "I am the demo agent, built in, without a model or a network. Try one of these. "
    '"list the files": I call a tool that lists the workspace. '
    '"write notes.txt hello": I call a tool that writes a file, and "append notes.txt more" adds a line to it. '
    '"slow 50": I count fifty ticks in five seconds, enough time to interrupt me. '
    '"fail": the run ends with an error. '
    '"delete notes.txt": I ask for your approval first. '
    '"ask": the run ends with a request for approval. '
    '"ask now": I wait for your approval within the run. '
    '"what did I say?": I repeat your earlier messages.'
)
_APPROVED, _DENIED = "Thank you, I will continue.", "All right, I will stop here."

_WRITE = re.compile(r"\s*(write|append)\s+(\S+)\s+(.+)", re.IGNORECASE | re.DOTALL)  # at the beginning
_LIST = re.compile(r"\b(list|files)\b", re.IGNORECASE)
_SLOW = re.compile(r"\bslow\s+(\d{1,9})", re.IGNORECASE)
_FAIL = re.compile(r"\bfail\b", re.IGNORECASE)
_DELETE = re.compile(r"\bdelete\s+(\S+)", re.IGNORECASE)
_CONFIRM = re.compile(r"\bask\b", re.IGNORECASE)
_CONFIRM_NOW = re.compile(r"\bask now\b", re.IGNORECASE)
_RECALL = re.compile(r"\bwhat did i say\b", re.IGNORECASE)

_APPROVAL = ApprovalRequest(
    message="May I continue?",
    options=[
        ApprovalOption(id="once", name="Yes, once", kind="allow_once"),
        ApprovalOption(id="always", name="Yes, always", kind="allow_always"),
        ApprovalOption(id="no", name="No", kind="reject_once"),
    ],
)
_RESPONSE_SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
# How the ids of interrupts begin: with them the decision can be carried out without any state of the agent.
_CONFIRMATION, _DELETION = "ask:", "delete:"


class DemoAgent(Agent):
    """The agent; the module's docstring lists its actions."""

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Yield the events of one turn, AG-UI 1.0, text word by word."""
        ids = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        messages: list[dict[str, Any]] = turn.input["messages"]
        user_texts = ["".join(text_parts(message)) for message in messages if message.get("role") == "user"]
        request, earlier = (user_texts[-1], user_texts[:-1]) if user_texts else ("", [])
        action = "" if _WRITE.match(request) else request  # a text to write may have any words
        outcome: dict[str, Any] = {"type": "success"}

        yield encode_event("RUN_STARTED", **ids, protocolVersion="1.0")
        for resumed in turn.input.get("resume") or []:
            async for event in _resume(resumed, messages, turn.workspace):
                yield event
        if "resume" in turn.input and messages and messages[-1].get("role") != "user":
            pass  # the decisions were all that is new
        elif _CONFIRM_NOW.search(action):
            decision = await turn.request_approval(_APPROVAL)
            async for event in _say(f"{_APPROVED if decision.allowed else _DENIED} ({decision.option_id})"):
                yield event
        elif interruption := _interruption(action):
            tool_call, interrupt = interruption
            outcome = {"type": "interrupt", "interrupts": [interrupt]}
            for event in tool_call:
                yield event
            async for event in _say(interrupt["message"]):
                yield event
        elif _FAIL.search(action):
            async for event in _say("I stop here with an error, as requested."):
                yield event
            yield encode_event("RUN_ERROR", message="The demo agent failed, as requested.", code="demo_failure")
            return
        else:
            async for event in _reply(request, earlier, _files(messages), turn.workspace):
                yield event
        yield encode_event("RUN_FINISHED", **ids, outcome=outcome)

    async def close(self) -> None:
        """Do nothing: nothing outlives a turn."""


async def _reply(request: str, earlier: list[str], files: list[Media], workspace: Path) -> AsyncIterator[bytes]:
    if written := _WRITE.match(request):
        events = _write(written, workspace)
    elif slow := _SLOW.search(request):
        events = _message(_ticks(min(int(slow[1]), MAX_TICKS)))
    elif _LIST.search(request):
        events = _list_workspace(workspace)
    elif _RECALL.search(request):
        events = _say(_recall(earlier))
    else:
        events = _say(f'You said: "{_quote(request)}". {_name(files)}{HELP}')
    async for event in events:
        yield event


async def _write(request: re.Match[str], workspace: Path) -> AsyncIterator[bytes]:
    name, path, text = request[1].lower() + "_file", request[2], request[3].rstrip() + "\n"
    call_id = f"call-{uuid4().hex}"
    for event in _tool_call(call_id, name, {"path": path, "content": text}):
        yield event
    result = await asyncio.to_thread(write_file, workspace, path, text, append=name == "append_file")
    yield _tool_result(call_id, result)
    async for event in _say(result):
        yield event


async def _list_workspace(workspace: Path) -> AsyncIterator[bytes]:
    call_id = f"call-{uuid4().hex}"
    for event in _tool_call(call_id, "list_workspace", {"limit": MAX_ENTRIES}):
        yield event
    entries, has_more = await asyncio.to_thread(list_workspace, workspace)
    listing = "\n".join([*entries, "(and more)"] if has_more else entries)
    yield _tool_result(call_id, listing)
    async for event in _say(f"The workspace contains:\n{listing}" if entries else "The workspace is empty."):
        yield event


def _interruption(request: str) -> tuple[list[bytes], dict[str, Any]] | None:
    """Return the tool call, if any, and the interrupt of a request that needs approval; None for any other."""
    if deletion := _DELETE.search(request):
        call_id, path = f"call-{uuid4().hex}", deletion[1]
        interrupt = _interrupt(_DELETION + call_id, "tool_call", f"Delete {path}?", toolCallId=call_id)
        return _tool_call(call_id, "delete_file", {"path": path}), interrupt
    if _CONFIRM.search(request):
        return [], _interrupt(_CONFIRMATION + uuid4().hex, "confirmation", "May I continue?")
    return None


async def _resume(entry: dict[str, Any], messages: list[dict[str, Any]], workspace: Path) -> AsyncIterator[bytes]:
    """Carry out one entry of `resume`: a decision on an interrupt of an earlier run."""
    payload = entry.get("payload")
    approved = entry["status"] == "resolved" and isinstance(payload, dict) and payload.get("approved") is True
    interrupt_id: str = entry["interruptId"]
    if interrupt_id.startswith(_DELETION):
        call_id = interrupt_id.removeprefix(_DELETION)
        text = "The user denied it."
        if approved:
            text = await asyncio.to_thread(delete_file, workspace, _path_of(call_id, messages))
        yield _tool_result(call_id, text)
    else:
        text = _APPROVED if approved else _DENIED
    async for event in _say(text):
        yield event


def _path_of(call_id: str, messages: list[dict[str, Any]]) -> str:
    """Return the argument of an earlier call of `delete_file`; empty if the conversation has no such call."""
    for message in messages:
        for call in message.get("toolCalls") or []:
            if call["id"] == call_id:
                return str(msgspec.json.decode(call["function"]["arguments"])["path"])
    return ""


def _interrupt(id_: str, reason: str, message: str, **more: str) -> dict[str, Any]:
    return {"id": id_, "reason": reason, "message": message, "responseSchema": _RESPONSE_SCHEMA, **more}


def _tool_call(call_id: str, name: str, args: dict[str, Any]) -> list[bytes]:
    return [
        encode_event("TOOL_CALL_START", toolCallId=call_id, toolCallName=name),
        encode_event("TOOL_CALL_ARGS", toolCallId=call_id, delta=msgspec.json.encode(args).decode()),
        encode_event("TOOL_CALL_END", toolCallId=call_id),
    ]


def _tool_result(call_id: str, content: str) -> bytes:
    message_id = f"{call_id}-result"
    return encode_event("TOOL_CALL_RESULT", messageId=message_id, toolCallId=call_id, content=content, role="tool")


def _say(text: str) -> AsyncIterator[bytes]:
    return _message(_words(text))


async def _message(deltas: AsyncIterator[str]) -> AsyncIterator[bytes]:
    message_id = f"message-{uuid4().hex}"
    yield encode_event("TEXT_MESSAGE_START", messageId=message_id, role="assistant")
    async for delta in deltas:
        yield encode_event("TEXT_MESSAGE_CONTENT", messageId=message_id, delta=delta)
    yield encode_event("TEXT_MESSAGE_END", messageId=message_id)


async def _words(text: str) -> AsyncIterator[str]:
    for word in re.findall(r"\S+\s*", text):
        yield word
        await asyncio.sleep(WORD_SECONDS)


async def _ticks(count: int) -> AsyncIterator[str]:
    for number in range(1, count + 1):
        await asyncio.sleep(TICK_SECONDS)
        yield f"tick {number} of {count}\n"


def _recall(earlier: list[str]) -> str:
    if not earlier:
        return "This is your first message."
    return "You said: " + ", then ".join(f'"{_quote(text)}"' for text in earlier[-MAX_RECALLED:]) + "."


def _files(messages: list[dict[str, Any]]) -> list[Media]:
    """Return the files that are attached to the last message of the user."""
    content = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), None)
    return [media for part in content if (media := read_media(part))] if isinstance(content, list) else []


def _name(files: list[Media]) -> str:
    return "".join(f"You attached {file.label} ({file.media_type or 'of an unknown type'}). " for file in files)


def _quote(text: str) -> str:
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + "…"
