"""As much of a log as one answer takes."""

from collections.abc import Iterable, Iterator

from app.agui.decode import Event
from app.types import Page


def cut(events: Iterable[Event], page: Page) -> Iterator[Event]:
    """The first of `events`, which begin behind `page.after`, up to the page's limits; one at least, whatever its size.

    No more of `events` is consumed than it takes to see that a limit is reached.
    """
    count = size = 0
    for event in events:
        count, size = count + 1, size + len(bytes(event.raw))
        if count > 1 and size > page.max_bytes:
            return
        yield event
        if count == page.limit:
            return
