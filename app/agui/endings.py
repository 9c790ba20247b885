"""What the events that end a run say about it."""

import msgspec

from app.agui.decode import Mark
from app.agui.lenient import Json, Lenient
from app.types import RunStatus


class _Terminal(msgspec.Struct, gc=False):
    message: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    outcome: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct, gc=False):
    is_error: bool | None = None


class _Outcome(msgspec.Struct, gc=False):
    type: str | None = None


_terminal = Lenient(_Terminal)
_result = Lenient(_Result)
_outcome = Lenient(_Outcome)


def ending(event: Mark) -> RunStatus | None:
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


def worse(one: RunStatus | None, other: RunStatus | None) -> RunStatus | None:
    """What a run with both endings counts as: one error makes an error, one cancellation an interruption."""
    for status in (RunStatus.ERROR, RunStatus.INTERRUPTED):
        if status in {one, other}:
            return status
    return other or one


def error_message(event: Mark) -> str | None:
    """The agent's or platform's own words in a RUN_ERROR, not cleaned."""
    terminal = _terminal(event.raw) if event.type == "RUN_ERROR" else None
    return terminal.message if terminal else None


def _outcome_type(raw: Json) -> str | None:
    outcome = _outcome(raw)
    return outcome.type if outcome else None
