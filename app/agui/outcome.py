"""What the events that end a run say about it."""

from typing import Any

import msgspec

from app.agui.events import Event, EventHeader
from app.agui.lenient import Json, Lenient, members, plain
from app.agui.times import millis
from app.models.runs import RunStatus


class _Terminal(msgspec.Struct, gc=False):
    message: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    outcome: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct, gc=False):
    is_error: bool | None = None


class _RunOutcome(msgspec.Struct, gc=False):
    type: str | None = None


_terminal = Lenient(_Terminal)
_result = Lenient(_Result)
_run_outcome = Lenient(_RunOutcome)


def outcome(event: EventHeader) -> RunStatus | None:
    """How this event ends its run; None for an event that ends none.

    An outcome of `interrupt` is a completed turn: the agent waits for an answer, which begins the next run.
    """
    if event.type == "RUN_ERROR":
        return RunStatus.ERROR
    if event.type != "RUN_FINISHED" or (terminal := _terminal(event.raw)) is None:
        return None
    if (result := _result(terminal.result)) and result.is_error:
        return RunStatus.ERROR
    return RunStatus.INTERRUPTED if _outcome_type(terminal.outcome) == "cancelled" else RunStatus.COMPLETED


def merge_outcomes(one: RunStatus | None, other: RunStatus | None) -> RunStatus | None:
    """What a run with both endings counts as: one error makes an error, one cancellation an interruption."""
    for status in (RunStatus.ERROR, RunStatus.INTERRUPTED):
        if status in {one, other}:
            return status
    return other or one


def error_message(event: EventHeader) -> str | None:
    """The agent's or platform's own words in a RUN_ERROR, not cleaned."""
    terminal = _terminal(event.raw) if event.type == "RUN_ERROR" else None
    return terminal.message if terminal else None


def _outcome_type(raw: Json) -> str | None:
    outcome = _run_outcome(raw)
    return outcome.type if outcome else None


_Schema = dict[str, Any]


class Interrupt(msgspec.Struct, gc=False):
    """One question; `expires_at` in ms."""

    id: str = ""
    message: str | None = None
    tool_call_id: str | None = msgspec.field(name="toolCallId", default=None)
    response_schema: _Schema | None = msgspec.field(name="responseSchema", default=None)
    expires_at: int | None = msgspec.field(name="expiresAt", default=None)


class _InterruptOutcome(msgspec.Struct, gc=False):
    type: str | None = None
    interrupts: list[msgspec.Raw] = []


_interrupt = Lenient(Interrupt, expires_at=plain(millis))
_interrupt_outcome = Lenient(_InterruptOutcome)


def interrupts_of(event: Event) -> list[Interrupt]:
    """The questions that a run ends with; those without an id cannot be answered and are left out."""
    values = members(event.raw) if event.type == "RUN_FINISHED" else None
    outcome = _interrupt_outcome(values["outcome"]) if values and "outcome" in values else None
    if outcome is None or outcome.type != "interrupt":
        return []
    found = [_interrupt(raw) for raw in outcome.interrupts]
    return [interrupt for interrupt in found if interrupt and interrupt.id]
