"""Pages of a log that comes in pieces."""

import pytest

from app.agui.page import PageBuilder
from app.models.output import LogPage
from tests.support.agui_samples import log, raw

EVENTS = log(*[raw("CUSTOM", value="x" * size) for size in (100, 40, 10)])


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("page", [LogPage(max_bytes=50), LogPage(limit=1)])
def test_a_page_of_one_large_event_leads_on_although_the_next_one_comes_later(page: LogPage, compacted: bool) -> None:
    filling = PageBuilder(page, 0, compacted=compacted)
    assert [filling.feed([event]) for event in EVENTS[:2]] == [False, True]
    events, next_after = filling.finish()
    assert (list(map(bytes, events)), next_after) == ([bytes(EVENTS[0].raw)], "1")


def test_a_page_that_ends_with_the_log_does_not_lead_on() -> None:
    filling = PageBuilder(LogPage(limit=2), 1, compacted=False)
    assert not any(filling.feed([event]) for event in EVENTS)
    events, next_after = filling.finish()
    assert (list(map(bytes, events)), next_after) == ([bytes(event.raw) for event in EVENTS[1:]], None)
