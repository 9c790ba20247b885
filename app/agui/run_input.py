"""RunAgentInput, the request body of AG-UI: built from a new run, or adapted from the one that a client sent.

A run input is a dict in AG-UI's own spelling. Every member that AG-UI 0.1 requires is present, so that agents of both
generations accept it.
"""

import uuid
from collections.abc import Collection
from typing import Any

import msgspec

from app.agui.content_parts import attachment_part
from app.agui.messages import content_text
from app.models.runs import Resume, RunCreate, RunMessage

RunInput = dict[str, Any]


def build_run_input(run: RunCreate, *, run_id: str, thread_id: str) -> RunInput:
    """Return the input of a new run; a message without an id gets a random one, since agents require it."""
    messages = [
        {"id": message.id or str(uuid.uuid4()), "role": message.role, "content": _content(message)}
        for message in run.messages
    ]
    given = {
        "messages": messages,
        "state": run.state,
        "tools": run.tools,
        "context": run.context,
        "forwardedProps": run.forwarded_props,
        "resume": [_entry(resume) for resume in run.resume or ()] or None,
    }
    present = {name: value for name, value in given.items() if value is not None}
    return _defaults() | present | {"threadId": thread_id, "runId": run_id}


def build_resume_input(resume: list[dict[str, Any]], *, run_id: str, thread_id: str) -> RunInput:
    """Return the input of a run without new messages that answers the interrupts of an earlier one."""
    return _defaults() | {"threadId": thread_id, "runId": run_id, "resume": resume}


def normalize_run_input(given: RunInput, *, thread_id: str, known: Collection[str]) -> RunInput:
    """Return a client's input with another thread id and without the messages whose ids are `known`.

    Missing members are filled in; every other one stays as the client sent it.
    """
    messages = [message for message in given["messages"] if message["id"] not in known]
    return _defaults() | given | {"threadId": thread_id, "messages": messages}


def last_user_message(run_input: RunInput) -> str | None:
    """Return the text of the last user message that has any."""
    for message in reversed(run_input["messages"]):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if text := content if isinstance(content, str) else content_text(msgspec.json.encode(content)):
            return text
    return None


def resume_entry(
    interrupt_id: str, schema: dict[str, Any] | None, *, allowed: bool, payload: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the entry of `resume` that allows or denies an interrupt whose response has this JSON schema.

    If the schema has a property `approved`, the decision goes there. Otherwise a permission resolves the interrupt and
    a denial cancels it, both with the payload as it is.
    """
    properties = (schema or {}).get("properties")
    if isinstance(properties, dict) and "approved" in properties:
        return {"interruptId": interrupt_id, "status": "resolved", "payload": {**(payload or {}), "approved": allowed}}
    entry: dict[str, Any] = {"interruptId": interrupt_id, "status": "resolved" if allowed else "cancelled"}
    return entry if payload is None else {**entry, "payload": payload}


def is_allowed(status: str, payload: object) -> bool:
    """Return whether an entry of `resume` that a client wrote itself allows what the agent asked for."""
    return status == "resolved" and not (isinstance(payload, dict) and payload.get("approved") is False)


def _content(message: RunMessage) -> str | list[dict[str, Any]]:
    """Return the text of a message, or parts of which it is the first if there are attachments."""
    if not message.attachments:
        return message.content
    return [{"type": "text", "text": message.content}, *map(attachment_part, message.attachments)]


def _entry(resume: Resume) -> dict[str, Any]:
    entry = {"interruptId": resume.interrupt_id, "status": resume.status}
    return entry if resume.payload is None else {**entry, "payload": resume.payload}


def _defaults() -> RunInput:
    return {"state": {}, "messages": [], "tools": [], "context": [], "forwardedProps": {}}
