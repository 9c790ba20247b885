"""Run inputs as the platform passes them on: it encodes them anew and drops what it does not know."""

from typing import Any

from app.agui.run_input import RunInput
from app.errors import NotSupported

_PASSED_ON = frozenset(
    {"threadId", "runId", "parentRunId", "messages", "state", "tools", "context", "forwardedProps", "resume"}
)
_NO_PARAMETERS = {"type": "object", "properties": {}}


def platform_input(run_input: RunInput) -> RunInput:
    """Return an input that reaches the agent whole.

    `NotSupported` for `resume`, for members that are not those of AG-UI, and for a state that is no object.

    The platform drops empty members of tools, without which its runner refuses the run.
    """
    if run_input.get("resume"):
        raise NotSupported("The platform does not pass `resume` on. Send the answer as a message.")
    if not run_input.keys() <= _PASSED_ON:
        raise NotSupported("The platform passes on only the members of the input that AG-UI defines.")
    if not isinstance(run_input.get("state") or {}, dict):
        raise NotSupported("The platform takes only an object as `state`.")
    return run_input | {"tools": [_complete(tool) for tool in run_input.get("tools") or ()]}


def _complete(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    defaults = {"description": tool.get("name"), "parameters": _NO_PARAMETERS}
    return tool | {name: value for name, value in defaults.items() if value and not tool.get(name)}
