"""A run's stream as one that an AG-UI client can read to its end, whatever becomes of the source."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from app.agui.native import WellFormed
from app.answers import EventStream, Frame
from app.errors import ApiError
from app.types import AcceptedRun, OutputFormat

_BROKE_OFF = ("The events of the run ended before the run did.", "run_broke_off")
_STOPS = ("The server stops; what becomes of the run can be read later.", "server_restarted")


def relayed(
    run: AcceptedRun,
    thread_id: str,
    follow: Callable[..., Awaitable[EventStream]],
    conversation: Sequence[dict[str, Any]] = (),
) -> EventStream:
    """The stream of an accepted run for a client that calls the thread `thread_id`; for both see `WellFormed`.

    `follow` opens the stream of a `run_id` in a `format`. It is called once the client reads, when it is too late for
    an HTTP error: from then on what goes wrong is a RUN_ERROR.
    """
    form = WellFormed(thread_id, run.run_id, conversation)
    events = partial(follow, run_id=run.run_id, format=OutputFormat.EVENTS)
    return EventStream(_pages(form, events), parting=lambda: _frames(form.break_off(*_STOPS, _now())))


async def _pages(form: WellFormed, follow: Callable[[], Awaitable[EventStream]]) -> AsyncGenerator[list[Frame], None]:
    try:
        pages = (await follow()).pages
        try:
            async for page in pages:
                yield [frame for each in page for frame in _frames(form.take(each.event, _now()), each.position)]
                if form.ended:
                    return
        finally:
            await pages.aclose()
        yield _frames(form.break_off(*_BROKE_OFF, _now()))
    except ApiError as error:
        yield _frames(form.break_off(str(error), error.code, _now()))


def _frames(events: list[bytes], position: int | None = None) -> list[Frame]:
    """The last of the events is the one at that position."""
    return [Frame(event) for event in events[:-1]] + [Frame(event, position) for event in events[-1:]]


def _now() -> int:
    return time.time_ns() // 1_000_000
