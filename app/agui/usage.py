"""What runs used of language models, from their terminal events: AG-UI's `usage` and the platform's `result`."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Json, Lenient, reader
from app.models.runs import Usage

DIGITS = 9  # of a dollar's fraction; what adding up leaves behind them is noise

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
    """The platform's runner, which passes on what the model's SDK says; the cost is the total of the SDK's process."""

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
    """What a terminal event says was used; None if it says nothing, or is another event.

    Tokens are counted once: where AG-UI's own `usage` is there, that of the result is not added to it.
    """
    if event.type not in {"RUN_FINISHED", "RUN_ERROR"} or (terminal := _terminal(event.raw)) is None:
        return None
    result = _result(terminal.result) or _Result()
    tokens = total(_standard(terminal.usage)) or _of_result(result.usage)
    return total((tokens, Usage(cost_usd=result.total_cost_usd)))


def total(usages: Iterable[Usage | None]) -> Usage | None:
    """The sum, each number over those that tell it; None if none tells any."""
    summed = Usage()
    for each in usages:
        for name in each.__struct_fields__ if each else ():
            if (number := getattr(each, name)) is not None:
                setattr(summed, name, (getattr(summed, name) or 0) + number)
    if summed.cost_usd is not None:
        summed.cost_usd = round(summed.cost_usd, DIGITS)
    return None if summed == Usage() else summed


def cost_delta(before: float, total: float) -> float:
    """Return the cost of one run in dollars, from the running total of its agent's process before and after the run.

    A total that is smaller than before is that of a new process, whose counter began at zero.
    """
    return round(total - before if total >= before else total, DIGITS)


def _standard(raw: Json) -> list[Usage]:
    entries = [entry for value in _entries(raw) or () if (entry := _token_usage(value))]
    return [_counted(Usage(**msgspec.structs.asdict(entry))) for entry in entries]


def _of_result(raw: Json) -> Usage | None:
    if (said := _result_usage(raw)) is None:
        return None
    return _counted(
        Usage(
            input_tokens=said.input_tokens,
            output_tokens=said.output_tokens,
            total_tokens=said.total_tokens,
            cached_input_tokens=said.cache_read_input_tokens,
            cache_write_input_tokens=said.cache_creation_input_tokens,
        )
    )


def _counted(tokens: Usage) -> Usage:
    if tokens.total_tokens is None and tokens.input_tokens is not None and tokens.output_tokens is not None:
        tokens.total_tokens = tokens.input_tokens + tokens.output_tokens
    return tokens
