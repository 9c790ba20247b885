"""Questions in the shapes that agents used before AG-UI 1.0, and answers in the shape of the question.

| question | answer |
|---|---|
| CUSTOM `on_interrupt` with a value, then RUN_FINISHED without an outcome | `forwardedProps.command.resume` |
| RUN_FINISHED with `outcome: "interrupt"` and `interrupt` | `resume` as one object with the agent's id |

Each of them becomes an interrupt like those of 1.0, whose id says in which shape and run it was asked. So a run that
answers it has an entry of `resume` like any other, and `answer_in_shape` turns it into what the agent expects.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import UNREADABLE, Json, Lenient
from app.agui.outcome import Interrupt

ON_INTERRUPT = "on_interrupt"
_OUTCOME = "interrupt"

_MESSAGES = ("message", "question", "text", "prompt", "description", "title", "reason")
_TOOLS = ("toolName", "tool_name", "tool", "name", "action")
_ARGS = ("args", "arguments", "input", "parameters", "suspendPayload")


class _Custom(msgspec.Struct, gc=False):
    name: str | None = None
    value: msgspec.Raw = msgspec.Raw()


class _Finished(msgspec.Struct, gc=False):
    outcome: msgspec.Raw = msgspec.Raw()
    interrupt: msgspec.Raw = msgspec.Raw()
    interrupts: list[msgspec.Raw] | None = None


class _Interrupt(msgspec.Struct, gc=False):
    id: str | None = None
    reason: str | None = None
    payload: msgspec.Raw = msgspec.Raw()


_custom = Lenient(_Custom)
_finished = Lenient(_Finished)
_interrupt = Lenient(_Interrupt)


class OlderInterrupts:
    """The questions of one run, as its events arrive."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._custom: list[Interrupt] = []

    def observe(self, event: EventHeader) -> None:
        """Take over an `on_interrupt`."""
        if event.type == "CUSTOM" and (value := on_interrupt_value(event.raw)) is not None:
            id_ = f"{ON_INTERRUPT}:{self._run_id}:{len(self._custom)}"
            self._custom.append(_described(id_, _parsed(value)))

    def at_end(self, event: EventHeader) -> tuple[Interrupt, ...]:
        """Return the questions that a RUN_FINISHED leaves open; none if it has an outcome of 1.0."""
        finished = _finished(event.raw) if event.type == "RUN_FINISHED" else None
        if finished is None:
            return ()
        if bytes(finished.outcome) == b'"interrupt"':
            raws = [finished.interrupt] if finished.interrupt else (finished.interrupts or [msgspec.Raw(b"{}")])
            return tuple(self._of_outcome(raw) for raw in raws)
        return () if finished.outcome and bytes(finished.outcome) != b"null" else tuple(self._custom)

    def _of_outcome(self, raw: Json) -> Interrupt:
        given = _interrupt(raw) or _Interrupt()
        described = _described(f"{_OUTCOME}:{self._run_id}:{given.id or ''}", _parsed(_decoded(given.payload)))
        described.message = described.message or given.reason
        return described


def on_interrupt_value(raw: Json) -> Any:
    """Return the value of a CUSTOM `on_interrupt` as the agent wrote it; None for any other event."""
    custom = _custom(raw)
    return _decoded(custom.value) if custom and custom.name == ON_INTERRUPT else None


def answer_in_shape(run_input: dict[str, Any], values: Callable[[str], Sequence[Any]]) -> dict[str, Any]:
    """Return the input with answers to older questions in the shape in which they were asked.

    `values` returns the values of the `on_interrupt` events of a run by its id. A client that has answered by
    `forwardedProps` itself is left its own answer.
    """
    others: list[Mapping[str, Any]] = []
    commands: list[tuple[Any, Any]] = []
    objects: list[dict[str, Any]] = []
    for entry in run_input.get("resume") or []:
        match _parts(entry):
            case [kind, run_id, number] if kind == ON_INTERRUPT and number.isdecimal():
                found = values(run_id)
                value = found[int(number)] if int(number) < len(found) else None
                commands.append((_answer(entry, _parsed(value)), value))
            case [kind, _, id_] if kind == _OUTCOME:
                objects.append({**({"interruptId": id_} if id_ else {}), "payload": _answer(entry, None)})
            case _:
                others.append(entry)
    if not commands and not objects:
        return run_input
    changed = {name: value for name, value in run_input.items() if name != "resume"}
    if others:
        changed["resume"] = others
    elif objects:
        changed["resume"] = objects[0]
    if commands:
        changed["forwardedProps"] = _with_command(changed.get("forwardedProps"), commands)
    return changed


def _with_command(forwarded: Any, commands: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    given: dict[str, Any] = forwarded if isinstance(forwarded, dict) else {}
    found = given.get("command")
    command: dict[str, Any] = found if isinstance(found, dict) else {}
    if "resume" in command:
        return given
    answers = [answer for answer, _ in commands]
    resume = answers[0] if len(answers) == 1 else answers
    return {**given, "command": {**command, "resume": resume, "interruptEvent": commands[-1][1]}}


def _parts(entry: Mapping[str, Any]) -> list[str]:
    return str(entry.get("interruptId")).split(":", 2)


def _answer(entry: Mapping[str, Any], question: Any) -> Any:
    """Return the payload that a client has sent, or else what says yes or no to this question."""
    if (payload := entry.get("payload")) is not None:
        return payload
    allowed = entry.get("status") == "resolved"
    requests = question.get("action_requests") if isinstance(question, dict) else None
    if isinstance(requests, list):
        return {"decisions": [{"type": "approve" if allowed else "reject"} for _ in requests]}
    return {"approved": allowed}


def _described(id_: str, value: Any) -> Interrupt:
    """Return an interrupt with what a question of any make says about itself."""
    if not isinstance(value, dict):
        return Interrupt(id=id_, message=value if isinstance(value, str) else None)
    action = value
    requests = value.get("action_requests")
    if isinstance(requests, list) and requests and isinstance(requests[0], dict):
        action = requests[0]
    schema = _parsed(value.get("resumeSchema") or value.get("responseSchema"))
    call_id = value.get("toolCallId")
    return Interrupt(
        id=id_,
        message=_first_text(action, _MESSAGES) or _first_text(value, _MESSAGES),
        tool_call_id=call_id if isinstance(call_id, str) else None,
        response_schema=schema if isinstance(schema, dict) else None,
        tool_name=_first_text(action, _TOOLS),
        args=next((action[name] for name in _ARGS if action.get(name) is not None), None),
    )


def _first_text(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((text for name in names if isinstance(text := value.get(name), str) and text), None)


def _parsed(value: Any) -> Any:
    """Return a value, or that of the JSON in it if it is a text; the bridges differ in whether they encode it."""
    if not isinstance(value, str):
        return value
    found = _decoded(value.encode(errors="replace"))
    return found if isinstance(found, dict | list) else value


def _decoded(raw: Json) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except UNREADABLE:
        return None
