"""How a run ended, read from its terminal event: RUN_FINISHED or RUN_ERROR."""

from typing import Any

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Lenient, plain
from app.agui.usage import usage
from app.clock import millis
from app.models.runs import RunStatus, Usage

_NO_MESSAGE = "The agent reported an error."


class Interrupt(msgspec.Struct, gc=False):
    """Something that an agent wants decided before it goes on with the next run; `expires_at` in ms.

    `tool_name` and `args` are known from the question itself in older shapes only, which no JSON of 1.0 has.
    """

    id: str = ""
    message: str | None = None
    tool_call_id: str | None = msgspec.field(name="toolCallId", default=None)
    response_schema: dict[str, Any] | None = msgspec.field(name="responseSchema", default=None)
    expires_at: int | None = msgspec.field(name="expiresAt", default=None)
    tool_name: str | None = msgspec.field(name="_tool_name", default=None)
    args: Any = msgspec.field(name="_args", default=None)


class RunOutcome(msgspec.Struct, frozen=True):
    """The end of a run: its status, its error if it has that status, open interrupts, models' usage, answer."""

    status: RunStatus
    error: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    usage: Usage | None = None
    answer: str | None = None


class _Terminal(msgspec.Struct, gc=False):
    message: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    outcome: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct, gc=False):
    is_error: bool | None = None


class _Outcome(msgspec.Struct, gc=False):
    type: str | None = None
    interrupts: list[msgspec.Raw] = []


_terminal = Lenient(_Terminal)
_result = Lenient(_Result)
_outcome = Lenient(_Outcome)
_interrupt = Lenient(Interrupt, expires_at=plain(millis))


def read_outcome(event: EventHeader) -> RunOutcome | None:
    """Return how this event ends its run, or None if it is not a terminal event."""
    status = final_status(event)
    if status is None:
        return None
    error = (error_message(event) or _NO_MESSAGE) if status is RunStatus.ERROR else None
    return RunOutcome(status, error, tuple(_interrupts(event)), usage(event))


def final_status(event: EventHeader) -> RunStatus | None:
    """Return the status in which this event leaves its run, or None if it is not a terminal event.

    A run that ends with interrupts waits for the decisions on them, which begin the next run.
    """
    if event.type == "RUN_ERROR":
        return RunStatus.ERROR
    if event.type != "RUN_FINISHED" or (terminal := _terminal(event.raw)) is None:
        return None
    if (result := _result(terminal.result)) and result.is_error:
        return RunStatus.ERROR
    if (outcome := _outcome(terminal.outcome)) and outcome.type == "cancelled":
        return RunStatus.INTERRUPTED
    return RunStatus.WAITING if _interrupts(event) else RunStatus.COMPLETED


def merge_statuses(one: RunStatus | None, other: RunStatus | None) -> RunStatus | None:
    """Return the status of a run with two terminal events: an error wins, then an interruption."""
    for status in (RunStatus.ERROR, RunStatus.INTERRUPTED):
        if status in {one, other}:
            return status
    return other or one


def error_message(event: EventHeader) -> str | None:
    """Return the message of a RUN_ERROR as the agent or the platform wrote it, not yet fit for clients."""
    terminal = _terminal(event.raw) if event.type == "RUN_ERROR" else None
    return terminal.message if terminal else None


def _interrupts(event: EventHeader) -> list[Interrupt]:
    """Return the interrupts with which a run ends; nobody can decide on one without an id."""
    terminal = _terminal(event.raw) if event.type == "RUN_FINISHED" else None
    outcome = _outcome(terminal.outcome) if terminal else None
    if outcome is None or outcome.type != "interrupt":
        return []
    found = [_interrupt(raw) for raw in outcome.interrupts]
    return [interrupt for interrupt in found if interrupt and interrupt.id]
