"""What is kept of long logs takes a bounded amount of memory."""

import pytest

from app.agui.decode import Entries
from app.agui.output import Events, Summed, Told
from app.agui.trail import Prefix
from app.backends.ambient import remembered
from app.backends.ambient.remembered import LONG, Remembered
from tests.unit.agui_samples import PLATFORM_RUN

LONG_LOG = Prefix(LONG, b"digest")


class Kept:
    def __init__(self, size: int) -> None:
        self.size = size


def test_what_was_asked_for_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MEMORY", 100)
    kept, what = Remembered[Kept](), {name: Kept(40) for name in "abc"}
    for name, told in what.items():
        kept.put(name, told, LONG_LOG)
    assert [kept.take(name) for name in "abc"] == [None, (what["b"], LONG_LOG), (what["c"], LONG_LOG)]


def test_what_is_handed_over_is_not_there_any_more() -> None:
    kept = Remembered[Kept]()
    kept.put("a", Kept(1), LONG_LOG)
    assert kept.take("a")
    assert kept.take("a") is None


@pytest.mark.parametrize(
    ("size", "prefix"), [(101, LONG_LOG), (1, Prefix(LONG - 1, b"")), (1, None)], ids=["large", "short", "nothing"]
)
def test_what_is_not_worth_it_is_not_kept(size: int, prefix: Prefix | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MEMORY", 100)
    kept = Remembered[Kept]()
    kept.put("a", Kept(size), prefix)
    assert kept.take("a") is None


@pytest.mark.parametrize("told", [Summed(), Told("s1", Events(), session_running=False)])
def test_the_size_of_what_is_kept_grows_with_its_texts(told: Summed | Told) -> None:
    text = "x" * 100_000
    entry = b'{"type":"RUN_STARTED","runId":"r","input":{"messages":[{"id":"m","role":"user","content":"%b"}]}}'
    told.take(Entries(b"[%b]" % b",".join(PLATFORM_RUN), told.reading))
    before = told.size
    assert 1000 <= before < 20_000
    told.take(Entries(b"[%b]" % entry % text.encode(), told.reading))
    assert len(text) <= told.size - before < len(text) + 2000
