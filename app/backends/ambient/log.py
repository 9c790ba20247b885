"""A session's log as it was read at a time, for those who follow it."""

from collections.abc import Sequence

import msgspec

from app.agui.decode import Event, decode


class Log(msgspec.Struct, frozen=True):
    """A log as it was read at a time: `begun` (of the event loop, s), its entries and events, the session's state.

    `last` is the last entry, by which a log that was rewritten is told from one that has grown.
    """

    begun: float = -1.0
    running: bool = False
    entries: int = 0
    last: bytes = b""
    events: Sequence[Event] = ()


def extended(known: Log, raws: Sequence[msgspec.Raw], *, begun: float, running: bool) -> Log:
    """The log that has these entries; only what the known one does not have is decoded."""
    grown = len(raws) >= known.entries and (known.entries == 0 or bytes(raws[known.entries - 1]) == known.last)
    before, new = (known.events, raws[known.entries :]) if grown else ((), raws)
    news = list(decode(new, first=len(before) + 1))
    last = bytes(raws[-1]) if raws else b""
    events = [*before, *news] if news else before
    return Log(begun=begun, running=running, entries=len(raws), last=last, events=events)
