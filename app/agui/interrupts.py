"""What an AG-UI agent asks when it ends a run with the outcome `interrupt`, and how it is answered."""

from typing import Any

import msgspec

from app.agui.decode import Event
from app.agui.lenient import Lenient, by_value, members
from app.agui.times import millis

_Schema = dict[str, Any]


class Interrupt(msgspec.Struct, gc=False):
    """One question; `expires_at` in ms."""

    id: str = ""
    message: str | None = None
    tool_call_id: str | None = msgspec.field(name="toolCallId", default=None)
    response_schema: _Schema | None = msgspec.field(name="responseSchema", default=None)
    expires_at: int | None = msgspec.field(name="expiresAt", default=None)


class _Outcome(msgspec.Struct, gc=False):
    type: str | None = None
    interrupts: list[msgspec.Raw] = []


_interrupt = Lenient(Interrupt, expires_at=by_value(millis))
_outcome = Lenient(_Outcome)


def interrupts(event: Event) -> list[Interrupt]:
    """The questions that a run ends with; those without an id cannot be answered and are left out."""
    values = members(event.raw) if event.type == "RUN_FINISHED" else None
    outcome = _outcome(values["outcome"]) if values and "outcome" in values else None
    if outcome is None or outcome.type != "interrupt":
        return []
    found = [_interrupt(raw) for raw in outcome.interrupts]
    return [interrupt for interrupt in found if interrupt and interrupt.id]


def answer(interrupt_id: str, schema: _Schema | None, *, allowed: bool, payload: _Schema | None) -> dict[str, Any]:
    """One entry of `resume`: a yes or no goes into `approved` where the agent expects it there.

    Otherwise a denial cancels the question, and a permission resolves it with the payload as it is.
    """
    properties = (schema or {}).get("properties")
    if isinstance(properties, dict) and "approved" in properties:
        return {"interruptId": interrupt_id, "status": "resolved", "payload": {**(payload or {}), "approved": allowed}}
    entry: dict[str, Any] = {"interruptId": interrupt_id, "status": "resolved" if allowed else "cancelled"}
    return entry if payload is None else {**entry, "payload": payload}


def permits(status: str, payload: object) -> bool:
    """Whether an entry of `resume` that a client wrote itself lets the agent do it."""
    return status == "resolved" and not (isinstance(payload, dict) and payload.get("approved") is False)
