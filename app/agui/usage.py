"""Usage of language models by runs, read from their terminal events: AG-UI's `usage` and the platform's `result`."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Json, Lenient, reader
from app.models.runs import Usage

_DIGITS = 9  # of a dollar's fraction: adding floats leaves noise after them

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_Dollars = Annotated[float, msgspec.Meta(ge=0, le=10**9)] | None


class _Terminal(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


class _TokenUsage(msgspec.Struct, gc=False, rename="camel"):
    """AG-UI 1.0, one entry for each model."""

    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    total_tokens: _Tokens = None
    reasoning_tokens: _Tokens = None
    cached_input_tokens: _Tokens = None
    cache_write_input_tokens: _Tokens = None


class _Result(msgspec.Struct, gc=False):
    """The result of the platform's runner, passed on from the model's SDK; the cost is the total of its process."""

    usage: msgspec.Raw = msgspec.Raw()
    total_cost_usd: _Dollars = None


class _ResultUsage(msgspec.Struct, gc=False):
    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    total_tokens: _Tokens = None
    cache_read_input_tokens: _Tokens = None
    cache_creation_input_tokens: _Tokens = None


_terminal = Lenient(_Terminal)
_token_usage = Lenient(_TokenUsage)
_result = Lenient(_Result)
_result_usage = Lenient(_ResultUsage)
_entries = reader(list[msgspec.Raw])


def usage(event: EventHeader) -> Usage | None:
    """Return the usage that a terminal event reports; None if it reports none, or is another event.

    Tokens count once: if there is AG-UI's own `usage`, that of the result is ignored.
    """
    if event.type not in {"RUN_FINISHED", "RUN_ERROR"} or (terminal := _terminal(event.raw)) is None:
        return None
    result = _result(terminal.result) or _Result()
    tokens = total(_agui_usage(terminal.usage)) or _sdk_usage(result.usage)
    return total((tokens, Usage(cost_usd=result.total_cost_usd)))


def total(usages: Iterable[Usage | None]) -> Usage | None:
    """Return the sum, each number over the usages that have it, or None if none has any."""
    summed = Usage()
    for each in usages:
        for name in each.__struct_fields__ if each else ():
            if (number := getattr(each, name)) is not None:
                setattr(summed, name, (getattr(summed, name) or 0) + number)
    if summed.cost_usd is not None:
        summed.cost_usd = round(summed.cost_usd, _DIGITS)
    return None if summed == Usage() else summed


def cost_delta(before: float, total: float) -> float:
    """Return the cost of one run in dollars, from the running total of its agent's process before and after the run.

    A total that is smaller than before is that of a new process, whose counter began at zero.
    """
    return round(total - before if total >= before else total, _DIGITS)


def _agui_usage(raw: Json) -> list[Usage]:
    entries = [entry for value in _entries(raw) or () if (entry := _token_usage(value))]
    return [_with_total(Usage(**msgspec.structs.asdict(entry))) for entry in entries]


def _sdk_usage(raw: Json) -> Usage | None:
    if (reported := _result_usage(raw)) is None:
        return None
    return _with_total(
        Usage(
            input_tokens=reported.input_tokens,
            output_tokens=reported.output_tokens,
            total_tokens=reported.total_tokens,
            cached_input_tokens=reported.cache_read_input_tokens,
            cache_write_input_tokens=reported.cache_creation_input_tokens,
        )
    )


def _with_total(tokens: Usage) -> Usage:
    if tokens.total_tokens is None and tokens.input_tokens is not None and tokens.output_tokens is not None:
        tokens.total_tokens = tokens.input_tokens + tokens.output_tokens
    return tokens
