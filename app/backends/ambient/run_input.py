"""Run inputs as the platform passes them on: it encodes them anew and drops what it does not know."""

from typing import Any

from app.agui.run_input import RunInput
from app.errors import Detail, NotSupported

_PASSED_ON = frozenset(
    {"threadId", "runId", "parentRunId", "messages", "state", "tools", "context", "forwardedProps", "resume"}
)
_INFORMATION = frozenset({"protocolVersion"})
"""Members that a client of AG-UI 1.0 always sends, and whose loss changes nothing for the agent."""
_NO_PARAMETERS = {"type": "object", "properties": {}}


def platform_input(run_input: RunInput) -> RunInput:
    """Return an input that reaches the agent whole.

    `NotSupported` for `resume`, for members that are not those of AG-UI, and for a state that is no object.

    The platform drops empty members of tools, without which its runner refuses the run.
    """
    if run_input.get("resume"):
        raise NotSupported("The platform does not pass `resume` on. Send the answer as a message.")
    if unknown := sorted(run_input.keys() - _PASSED_ON - _INFORMATION):
        details = [Detail(f"body.{name[:100]}", "is not passed on by the platform") for name in unknown[:20]]
        raise NotSupported("The platform passes on only the members of the input that AG-UI defines.", details=details)
    if not isinstance(run_input.get("state") or {}, dict):
        raise NotSupported("The platform takes only an object as `state`.")
    return run_input | {"tools": [_complete(tool) for tool in run_input.get("tools") or ()]}


def _complete(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    defaults = {"description": tool.get("name"), "parameters": _NO_PARAMETERS}
    return tool | {name: value for name, value in defaults.items() if value and not tool.get(name)}
