"""What is kept of long logs takes a bounded amount of memory."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from app.agui.events import EventBatch
from app.agui.prefix import LogPrefix
from app.agui.renderers import RunFilter, RunSummarizer, TranscriptWriter
from app.backends.ambient.log_cache import LONG_LOG, Checkpoint, Checkpoints, LogCache
from tests.bench import exports
from tests.support.agui_samples import raw


class Kept:
    def __init__(self, size: int) -> None:
        self.size = size


def test_what_was_asked_for_last_stays() -> None:
    kept, what = LogCache[Kept](100_000), {name: Kept(40_000) for name in "abc"}
    for name, told in what.items():
        kept.put(name, told)
    assert [kept.pop(name) for name in "abc"] == [None, what["b"], what["c"]]


def test_what_is_handed_over_is_not_there_any_more() -> None:
    kept = LogCache[Kept](10_000)
    kept.put("a", Kept(1))
    assert kept.pop("a")
    assert kept.pop("a") is None


def test_what_is_too_large_is_not_kept() -> None:
    kept = LogCache[Kept](10_000)
    kept.put("a", Kept(10_000))
    assert kept.pop("a") is None


def test_reading_begins_at_the_last_place_before_what_is_asked_for() -> None:
    landmarks = Checkpoints()
    places = [Checkpoint(end, False, LogPrefix(LONG_LOG + end, b"")) for end in (10, 20, 20, 15, 30)]
    assert landmarks.before(100) is None
    for place in places:
        landmarks.add(place)
    found = [landmarks.before(after) for after in (0, 9, 10, 19, 20, 29, 30, 99)]
    assert [place and place.end for place in found] == [None, None, 10, 10, 20, 20, 30, 30]
    landmarks.add(Checkpoint(40, False, LogPrefix(LONG_LOG - 1, b"")))
    assert landmarks.size == 750


def test_what_takes_nothing_counts_too() -> None:
    kept = LogCache[Kept](10_000)
    for name in "abc":
        kept.put(name, Kept(0))
    assert [bool(kept.pop(name)) for name in "abc"] == [False, True, True]


def errors() -> Iterator[bytes]:
    for number in range(20):
        yield raw("RUN_ERROR", runId=f"r{number}", message="x" * 100_000)


def restated_then_asked() -> Iterator[bytes]:
    for number in range(20):
        said = {"role": "user", "content": "x" * 50_000 + "🚀"}
        yield raw("MESSAGES_SNAPSHOT", runId=f"r{number}", messages=[said])
        yield raw("RUN_STARTED", runId=f"r{number}", input={"messages": [{"role": "user", "content": "hi"}]})


def a_run_an_event() -> Iterator[bytes]:
    return (raw("STEP_STARTED", runId=f"{number:05}") for number in range(20_000))


def alternating_deltas() -> Iterator[bytes]:
    for number in range(20_000):
        yield raw("TEXT_MESSAGE_CONTENT", runId="r", messageId="ab"[number % 2], delta="ab")


def long_names() -> Iterator[bytes]:
    for number in range(100):
        yield raw("TEXT_MESSAGE_START", runId="r", messageId=f"{number}{'x' * 9000}", role="y" * 9000, name="z" * 9000)


def calls_again_and_again() -> Iterator[bytes]:
    for number in range(2000):
        yield raw(
            "TOOL_CALL_START", runId=f"r{number}", toolCallId="c", toolCallName="Bash", parentMessageId=f"m{number}"
        )
        yield raw("TOOL_CALL_ARGS", runId=f"r{number}", toolCallId="c", delta="x" * 500)


def usual() -> Iterator[bytes]:
    return (event for _, event in exports.log(2, runs=10))


@pytest.mark.parametrize(
    "log", [errors, restated_then_asked, a_run_an_event, alternating_deltas, long_names, calls_again_and_again, usual]
)
@pytest.mark.parametrize("kind", [RunSummarizer, TranscriptWriter])
def test_sizes_are_honest(kind: type[RunSummarizer | TranscriptWriter], log: Callable[[], Iterator[bytes]]) -> None:
    raws = list(log())
    told = TranscriptWriter("s1", RunFilter(), session_running=True) if kind is TranscriptWriter else RunSummarizer()
    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, len(raws), 500):
            told.feed(EventBatch(b"[%b]" % b",".join(raws[start : start + 500]), told.reading))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    others = 200_000  # of memory: what was imported or made for the first time meanwhile
    assert (held - others) / 2 < told.size < 6 * (held + others)
