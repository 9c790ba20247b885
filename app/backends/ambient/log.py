"""A session's log as it was read at a time, for those who follow it."""

from collections.abc import Sequence

import msgspec

from app.agui.decode import Event, decode
from app.agui.trail import Prefix


class Log(msgspec.Struct, frozen=True):
    """A log as it was read at a time: `begun` (of the event loop, s), its events, the session's state.

    `prefix` tells it from one that was rewritten since; a short one has none.
    """

    begun: float = -1.0
    running: bool = False
    prefix: Prefix | None = None
    events: Sequence[Event] = ()


def extended(
    known: Sequence[Event], raws: Sequence[msgspec.Raw], *, prefix: Prefix | None, begun: float, running: bool
) -> Log:
    """The log that has these entries behind events that are known."""
    news = list(decode(raws, first=len(known) + 1))
    return Log(begun=begun, running=running, prefix=prefix, events=[*known, *news] if news else known)
