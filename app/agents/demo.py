"""The built-in agent: no model, no network, does on request what a real agent may do."""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from app.agents.port import Agent, RequestApproval, Turn
from app.agui.events import encode_event
from app.agui.messages import text_parts
from app.models.approvals import ApprovalOption, ApprovalRequest

MAX_TICKS = 3000
MAX_ENTRIES = 100
MAX_QUOTE = 500
WORD_SECONDS = 0.01
TICK_SECONDS = 0.1

HELP = (
    "I am the demo agent: built in, without a model or a network. "
    'Ask me to "list the files" and I call a tool on the workspace; "slow 50" and I take fifty ticks of a tenth of a '
    'second, time enough to interrupt me; "fail" and the run ends with an error; "delete notes.txt" and I wait for '
    'your approval, "ask" and I wait for it without a reason, "ask now" and I do so within my turn; "what did I say?" '
    "and I recall our conversation."
)


class DemoAgent(Agent):
    """Answers by what the last user message asks for; with nothing that it knows, says what it can do."""

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Yield the events of one turn, AG-UI 1.0, words as they are said."""
        run = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        yield encode_event("RUN_STARTED", **run, protocolVersion="1.0")
        messages: list[dict[str, Any]] = turn.input["messages"]
        async for event in _resume(turn.input.get("resume") or [], messages, turn.workspace):
            yield event
        said = ["".join(text_parts(message)) for message in messages if message.get("role") == "user"]
        request = said[-1] if said else ""
        if "resume" in turn.input and messages and messages[-1].get("role") != "user":
            yield encode_event("RUN_FINISHED", **run, outcome={"type": "success"})
        elif sentence := await ask_now(turn.request_approval, request):
            async for event in _stream_text(_words(sentence)):
                yield event
            yield encode_event("RUN_FINISHED", **run, outcome={"type": "success"})
        elif asked := needs_approval(request):
            for event in asked.events:
                yield event
            async for event in _stream_text(_words(asked.interrupt["message"])):
                yield event
            yield encode_event("RUN_FINISHED", **run, outcome={"type": "interrupt", "interrupts": [asked.interrupt]})
        elif re.search(r"\bfail\b", request, re.IGNORECASE):
            async for event in _stream_text(_words("This is as far as I come, for you asked me to")):
                yield event
            yield encode_event("RUN_ERROR", message="The demo agent failed, as it was asked to.", code="demo_failure")
        else:
            async for event in _answer(request, said[:-1], turn.workspace):
                yield event
            yield encode_event("RUN_FINISHED", **run, outcome={"type": "success"})

    async def close(self) -> None:
        """Nothing outlives a turn."""


async def _resume(
    answers: list[dict[str, Any]], messages: list[dict[str, Any]], workspace: Path
) -> AsyncIterator[bytes]:
    for entry in answers:
        events, sentence = await asyncio.to_thread(settle_approval, entry, messages, workspace)
        for event in events:
            yield event
        async for event in _stream_text(_words(sentence)):
            yield event


async def _answer(request: str, before: list[str], workspace: Path) -> AsyncIterator[bytes]:
    if slow := re.search(r"\bslow\s+(\d{1,9})", request, re.IGNORECASE):
        async for event in _stream_text(_ticks(min(int(slow[1]), MAX_TICKS))):
            yield event
    elif re.search(r"\b(list|files)\b", request, re.IGNORECASE):
        async for event in _list_workspace(workspace):
            yield event
    elif re.search(r"\bwhat did i say\b", request, re.IGNORECASE):
        async for event in _stream_text(_words(_recall(before))):
            yield event
    else:
        async for event in _stream_text(_words(f'You said: "{_quote(request)}". {HELP}')):
            yield event


async def _list_workspace(workspace: Path) -> AsyncIterator[bytes]:
    call, message = f"call-{uuid4().hex}", f"message-{uuid4().hex}"
    yield encode_event("TOOL_CALL_START", toolCallId=call, toolCallName="list_workspace")
    yield encode_event("TOOL_CALL_ARGS", toolCallId=call, delta=f'{{"limit":{MAX_ENTRIES}}}')
    yield encode_event("TOOL_CALL_END", toolCallId=call)
    entries, more = await asyncio.to_thread(list_workspace, workspace)
    listing = "\n".join([*entries, "(and more)"] if more else entries)
    yield encode_event("TOOL_CALL_RESULT", messageId=message, toolCallId=call, content=listing, role="tool")
    summary = f"The workspace holds:\n{listing}" if entries else "The workspace is empty."
    async for event in _stream_text(_words(summary)):
        yield event


def list_workspace(workspace: Path) -> tuple[list[str], bool]:
    """Return at most MAX_ENTRIES relative paths, sorted by directory, and whether there are more.

    A directory ends in "/"; symbolic links are named, never followed; what is inside `.git` is left out.
    """
    found = list(itertools.islice(_entries(workspace), MAX_ENTRIES + 1))
    return found[:MAX_ENTRIES], len(found) > MAX_ENTRIES


def _entries(workspace: Path) -> Iterator[str]:
    for directory, names, files in os.walk(workspace):
        names[:] = sorted(name for name in names if name != ".git")
        here = Path(directory)
        for name in names:
            entry = here / name
            yield _printable(entry.relative_to(workspace)) + ("" if entry.is_symlink() else "/")
        for name in sorted(files):
            yield _printable((here / name).relative_to(workspace))


def _printable(path: Path) -> str:
    """Not every file name is UTF-8; JSON is."""
    return os.fsencode(path).decode("utf-8", "replace")


async def _stream_text(words: AsyncIterator[str]) -> AsyncIterator[bytes]:
    message = f"message-{uuid4().hex}"
    yield encode_event("TEXT_MESSAGE_START", messageId=message, role="assistant")
    async for word in words:
        yield encode_event("TEXT_MESSAGE_CONTENT", messageId=message, delta=word)
    yield encode_event("TEXT_MESSAGE_END", messageId=message)


async def _words(text: str) -> AsyncIterator[str]:
    for word in re.findall(r"\S+\s*", text):
        yield word
        await asyncio.sleep(WORD_SECONDS)


async def _ticks(count: int) -> AsyncIterator[str]:
    for number in range(1, count + 1):
        await asyncio.sleep(TICK_SECONDS)
        yield f"tick {number} of {count}\n"


def _recall(before: list[str]) -> str:
    if not before:
        return "This is the first that I hear of you."
    return "You said: " + ", then ".join(f'"{_quote(text)}"' for text in before[-10:]) + "."


def _quote(text: str) -> str:
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + "…"


_NOW = ApprovalRequest(
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


async def ask_now(ask: RequestApproval, request: str) -> str | None:
    """What to say to the answer, where the request is to ask within the turn."""
    if not re.search(r"\bask now\b", request, re.IGNORECASE):
        return None
    answer = await ask(_NOW)
    said = _AGREED if answer.allowed else _REFUSED
    return f"{said} ({answer.option_id})"


class PendingDeletion(NamedTuple):
    """The events of the tool call in question, if it is about one, and the AG-UI interrupt."""

    events: list[bytes]
    interrupt: dict[str, Any]


def needs_approval(request: str) -> PendingDeletion | None:
    """What has to be asked before a request is carried out: `delete <path>`, and `ask` because it says so."""
    if found := re.search(r"\bdelete\s+(\S+)", request, re.IGNORECASE):
        call = f"call-{uuid4().hex}"
        events = [
            encode_event("TOOL_CALL_START", toolCallId=call, toolCallName="delete_file"),
            encode_event("TOOL_CALL_ARGS", toolCallId=call, delta=msgspec.json.encode({"path": found[1]}).decode()),
            encode_event("TOOL_CALL_END", toolCallId=call),
        ]
        return PendingDeletion(events, _interrupt(_DELETE + call, "tool_call", f"Delete {found[1]}?", toolCallId=call))
    if re.search(r"\bask\b", request, re.IGNORECASE):
        return PendingDeletion([], _interrupt(_ASK + uuid4().hex, "confirmation", "May I go on?"))
    return None


def _interrupt(id_: str, reason: str, message: str, **more: str) -> dict[str, Any]:
    return {"id": id_, "reason": reason, "message": message, "responseSchema": _SCHEMA, **more}


def settle_approval(entry: dict[str, Any], messages: list[dict[str, Any]], workspace: Path) -> tuple[list[bytes], str]:
    """Act on one answer of `resume`: the result of the tool call, if it was about one, and what to say."""
    payload = entry.get("payload")
    approved = entry["status"] == "resolved" and isinstance(payload, dict) and payload.get("approved") is True
    id_: str = entry["interruptId"]
    if not id_.startswith(_DELETE):
        return [], _AGREED if approved else _REFUSED
    call = id_.removeprefix(_DELETE)
    result = _delete(workspace, _path(call, messages)) if approved else "The user did not allow it."
    said = encode_event("TOOL_CALL_RESULT", messageId=f"{call}-result", toolCallId=call, content=result, role="tool")
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
