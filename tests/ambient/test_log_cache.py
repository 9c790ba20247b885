"""The cache of read logs: what it hands out, what it drops, and how much memory it takes."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from app.agui.events import EventBatch
from app.agui.prefix import LogPrefix, LogRewritten, PrefixHasher
from app.agui.renderers import RunSummarizer, TranscriptWriter
from app.agui.run_filter import RunFilter
from app.backends.ambient.cursors import Cursor
from app.backends.ambient.log_cache import MIN_LOG_BYTES, Checkpoint, Checkpoints, LogCache, memory_size
from tests.bench import exports
from tests.support.agui_samples import raw

LONG = b"x" * MIN_LOG_BYTES
KB = 1000


async def view(cache: LogCache, key: str, log: bytes = LONG, *, view_size: int = 0) -> list[bytes]:
    """Read a log and return all that its view was fed so far; a new view takes `view_size` bytes of memory."""

    def make() -> list[bytes]:
        return [bytes(view_size)] if view_size else []

    async def read(view: list[bytes], hasher: PrefixHasher) -> None:
        text = log + b"]"
        if hasher.more is None:
            text = hasher.skip_known(text)
        if hasher.more is None:
            raise LogRewritten
        if new := text.removesuffix(b"]"):
            hasher.add(new)
            view.append(new)

    async with cache.view(key, make, read) as found:
        return list(found)


async def test_a_view_is_fed_only_what_was_appended() -> None:
    cache = LogCache(1000 * KB)
    assert await view(cache, "a") == [LONG]
    assert await view(cache, "a") == [LONG]
    assert await view(cache, "a", LONG + b",y") == [LONG, b"y"]


async def test_a_view_is_made_again_when_the_log_was_rewritten() -> None:
    cache = LogCache(1000 * KB)
    await view(cache, "a")
    other = b"y" * MIN_LOG_BYTES
    assert await view(cache, "a", other) == [other]
    assert await view(cache, "a", other + b",z") == [other, b"z"]


async def test_nothing_is_cached_of_a_short_log_or_without_memory() -> None:
    short = LogCache(1000 * KB)
    assert await view(short, "a", LONG[1:]) == [LONG[1:]]
    assert await view(short, "a", LONG[1:] + b",y") == [LONG[1:] + b",y"]
    off = LogCache(0)
    assert await view(off, "a") == [LONG]
    assert await view(off, "a", LONG + b",y") == [LONG + b",y"]


async def test_the_least_recently_used_views_are_dropped() -> None:
    cache = LogCache(1000 * KB)
    for key in "abc":
        await view(cache, key, view_size=100 * KB)
    read_on = {key: len(await view(cache, key, LONG + b",y", view_size=100 * KB)) == 3 for key in "cba"}
    assert read_on == {"c": True, "b": True, "a": False}


async def test_a_view_that_takes_more_than_all_memory_is_not_cached() -> None:
    cache = LogCache(1000 * KB)
    await view(cache, "a", view_size=1000 * KB)
    assert len(await view(cache, "a", LONG + b",y", view_size=1000 * KB)) == 2


async def test_a_view_in_use_is_not_handed_out_twice() -> None:
    cache = LogCache(1000 * KB)
    seen: list[list[int]] = []

    async def read(view: list[int], hasher: PrefixHasher) -> None:
        if hasher.more:
            hasher.add(LONG)
        view.append(1)

    for _ in range(2):
        async with cache.view("a", list[int], read) as one, cache.view("a", list[int], read) as other:
            assert one is not other
            seen.append(one)
    assert seen[1] == [1, 1]


def checkpoints(cache: LogCache, key: str, count: int = 0) -> int:
    """How many checkpoints are cached; `count` are added."""
    with cache.checkpoints(key) as found:
        before = found.size // 250
        for position in range(before, before + count):
            found.add(Checkpoint(Cursor(position), position, False, LogPrefix(MIN_LOG_BYTES, b"")))
    return before


def test_checkpoints_are_cached_with_the_views() -> None:
    cache = LogCache(10_000)
    assert checkpoints(cache, "a", 3) == 0
    assert checkpoints(cache, "a", 1) == 3
    assert checkpoints(cache, "b") == 0
    assert checkpoints(cache, "b", 8) == 0
    assert checkpoints(cache, "a") == 0  # dropped: both together take more than there is


def test_reading_starts_at_the_last_checkpoint_before_the_position() -> None:
    found = Checkpoints()
    assert found.before(Cursor(100)) is None
    for position in (10, 20, 20, 15, 30):
        found.add(Checkpoint(Cursor(position), position, False, LogPrefix(MIN_LOG_BYTES + position, b"")))
    starts = [found.before(Cursor(after)) for after in (0, 9, 10, 19, 20, 29, 30, 99)]
    assert [start and start.position for start in starts] == [None, None, 10, 10, 20, 20, 30, 30]
    found.add(Checkpoint(Cursor(40), 40, False, LogPrefix(MIN_LOG_BYTES - 1, b"")))
    assert found.size == 750


def errors() -> Iterator[bytes]:
    for number in range(20):
        yield raw("RUN_ERROR", runId=f"r{number}", message="x" * 100_000)


def snapshots_before_inputs() -> Iterator[bytes]:
    for number in range(20):
        message = {"role": "user", "content": "x" * 50_000 + "🚀"}
        yield raw("MESSAGES_SNAPSHOT", runId=f"r{number}", messages=[message])
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
    "log",
    [errors, snapshots_before_inputs, a_run_an_event, alternating_deltas, long_names, calls_again_and_again, usual],
)
@pytest.mark.parametrize("kind", [RunSummarizer, TranscriptWriter])
def test_measured_sizes_are_close_to_what_python_allocates(
    kind: type[RunSummarizer | TranscriptWriter], log: Callable[[], Iterator[bytes]]
) -> None:
    raws = list(log())
    view = TranscriptWriter("s1", RunFilter(), session_running=True) if kind is TranscriptWriter else RunSummarizer()
    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, len(raws), 500):
            view.feed(EventBatch(b"[%b]" % b",".join(raws[start : start + 500]), view.decoder))
        gc.collect()
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    others = 200_000  # bytes that were imported or made for the first time meanwhile
    assert (allocated - others) / 2 < memory_size(view) < 2 * (allocated + others)
