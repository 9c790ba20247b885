"""What is kept of long logs takes a bounded amount of memory."""

import pytest

from app.agui.decode import Entries
from app.agui.output import Events, Summed, Told
from app.agui.trail import Prefix
from app.backends.ambient.remembered import Known, Landmark, Landmarks, Remembered
from tests.unit.agui_samples import PLATFORM_RUN


class Kept:
    def __init__(self, size: int) -> None:
        self.size = size


def test_what_was_asked_for_last_stays() -> None:
    kept, what = Remembered[Kept](100), {name: Kept(40) for name in "abc"}
    for name, told in what.items():
        kept.put(name, told)
    assert [kept.take(name) for name in "abc"] == [None, what["b"], what["c"]]


def test_what_is_handed_over_is_not_there_any_more() -> None:
    kept = Remembered[Kept](100)
    kept.put("a", Kept(1))
    assert kept.take("a")
    assert kept.take("a") is None


def test_what_is_too_large_is_not_kept() -> None:
    kept = Remembered[Kept](100)
    kept.put("a", Kept(101))
    assert kept.take("a") is None


def test_the_size_of_what_is_known_is_that_of_what_was_told() -> None:
    assert Known(Kept(7), Prefix(10**6, b"")).size == 7


def test_reading_begins_at_the_last_place_before_what_is_asked_for() -> None:
    landmarks, places = Landmarks(), [Landmark(end, False, Prefix(end, b"")) for end in (10, 20, 20, 15, 30)]
    assert landmarks.before(100) is None
    for place in places:
        landmarks.add(place)
    found = [landmarks.before(after) for after in (0, 9, 10, 19, 20, 29, 30, 99)]
    assert [place and place.end for place in found] == [None, None, 10, 10, 20, 20, 30, 30]
    assert landmarks.size == 750


@pytest.mark.parametrize("told", [Summed(), Told("s1", Events(), session_running=False)])
def test_the_size_of_what_is_kept_grows_with_its_texts(told: Summed | Told) -> None:
    text = "x" * 100_000
    entry = b'{"type":"RUN_STARTED","runId":"r","input":{"messages":[{"id":"m","role":"user","content":"%b"}]}}'
    told.take(Entries(b"[%b]" % b",".join(PLATFORM_RUN), told.reading))
    before = told.size
    assert 1000 <= before < 20_000
    told.take(Entries(b"[%b]" % entry % text.encode(), told.reading))
    assert len(text) <= told.size - before < len(text) + 2000
