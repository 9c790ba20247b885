"""Pages of a log that arrives in batches."""

import pytest

from app.agui.page import PageBuilder
from app.models.output import LogPage
from tests.support.agui_samples import log, raw

EVENTS = log(*[raw("CUSTOM", value="x" * size) for size in (100, 40, 10)])


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("page", [LogPage(max_bytes=50), LogPage(limit=1)])
def test_a_page_of_one_large_event_has_a_next_page_that_arrives_later(page: LogPage, compacted: bool) -> None:
    builder = PageBuilder(page, compacted=compacted)
    assert [builder.feed([event]) for event in EVENTS[:2]] == [False, True]
    events, next_after = builder.finish()
    assert (list(map(bytes, events)), next_after) == ([bytes(EVENTS[0].raw)], 1)


def test_a_page_that_ends_with_the_log_has_no_next_page() -> None:
    builder = PageBuilder(LogPage(limit=2), compacted=False)
    assert not any(builder.feed([event]) for event in EVENTS[1:])
    events, next_after = builder.finish()
    assert (list(map(bytes, events)), next_after) == ([bytes(event.raw) for event in EVENTS[1:]], None)
