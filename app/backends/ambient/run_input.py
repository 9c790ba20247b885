"""Run inputs as the platform passes them on: it encodes them anew and drops what it does not know."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from app.agui.messages import content_text
from app.agui.run_input import RunInput
from app.errors import Detail, NotSupported
from app.models.runs import Attachment

_PASSED_ON = frozenset(
    {"threadId", "runId", "parentRunId", "messages", "state", "tools", "context", "forwardedProps", "resume"}
)
_INFORMATION = frozenset({"protocolVersion"})
"""Members that a client of AG-UI 1.0 always sends, and whose loss changes nothing for the agent."""
_TAKEN = _PASSED_ON | _INFORMATION
_FOR_THE_AGENT = frozenset({"user", "system", "developer"})
"""Roles of messages that are meant for the agent."""

_NO_PARAMETERS = {"type": "object", "properties": {}}


def platform_input(run_input: RunInput) -> RunInput:
    """Return an input that reaches the agent whole.

    `NotSupported` for `resume`, for members that are not those of AG-UI, and for a state that is no object.
    The platform drops empty members of tools, without which its runner refuses the run. Its runner gives the agent
    only the last message, so that one gets the texts of those before it.
    """
    if run_input.get("resume"):
        raise NotSupported("The platform does not pass `resume` on. Send the answer as a message.")
    if unknown := sorted(run_input.keys() - _TAKEN):
        details = [Detail(f"body.{name[:100]}", "is not passed on by the platform") for name in unknown[:20]]
        raise NotSupported("The platform passes on only the members of the input that AG-UI defines.", details=details)
    if not isinstance(run_input.get("state") or {}, dict):
        raise NotSupported("The platform takes only an object as `state`.")
    messages = _with_whole_prompt(run_input.get("messages") or [])
    return run_input | {"messages": messages, "tools": [_complete(tool) for tool in run_input.get("tools") or ()]}


def refuse_attachments(attachments: Sequence[Attachment] | None, location: str = "body.attachments") -> None:
    """Raise `NotSupported`, which names them, if there are any: the platform's runner drops all but text."""
    _refuse_files(f"{location}[{index}]" for index in range(len(attachments or ())))


def refuse_files(messages: list[Any], known: Collection[str]) -> None:
    """Raise `NotSupported`, which names them, if messages of an AG-UI client without a `known` id have files."""
    _refuse_files(
        f"body.messages[{index}].content[{number}]"
        for index, message in enumerate(messages)
        if message.get("role") in _FOR_THE_AGENT and message.get("id") not in known
        if isinstance(parts := message.get("content"), list)
        for number, part in enumerate(parts)
        if not isinstance(part, dict) or not isinstance(part.get("text"), str)
    )


def _refuse_files(locations: Iterable[str]) -> None:
    details = [Detail(location, "is not passed on by the platform") for location in islice(locations, 20)]
    if details:
        raise NotSupported("The platform passes only text on to its agents.", details=details)


def _with_whole_prompt(messages: list[Any]) -> list[Any]:
    if not messages or messages[-1].get("role") not in _FOR_THE_AGENT:
        return messages
    texts = [text for message in messages if message.get("role") in _FOR_THE_AGENT and (text := _text(message))]
    return [*messages[:-1], messages[-1] | {"content": "\n\n".join(texts)}]


def _text(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    return content if isinstance(content, str) else content_text(msgspec.json.encode(content))


def _complete(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    defaults = {"description": tool.get("name"), "parameters": _NO_PARAMETERS}
    return tool | {name: value for name, value in defaults.items() if value and not tool.get(name)}
