"""Long logs that are read again: only new events are decoded, and results are as if the whole log were."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from app.agui.events import EventBatch, decode
from app.agui.run_filter import RunFilter
from app.backends.ambient.backend import AmbientBackend
from app.backends.ambient.cursors import Tracker
from app.errors import CursorExpired, RunNotFound
from app.models.output import EventLog, LogPage, Message, OutputFormat
from app.models.runs import RunSummary
from app.results import StreamedBody
from tests.bench import exports
from tests.support.output import stored_events, transcript
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, connected

LOG = list(exports.log(1, runs=8))
LINES = [event for _, event in LOG]
RUN = LOG[-1].run_id
HALF = len(LINES) // 2

REWRITTEN = pytest.mark.parametrize(
    "now",
    [
        LINES[: HALF - 1],
        [line for line in LINES if b"CONTENT" not in line],
        [LINES[0].replace(b"RUN_STARTED", b"RUN_RESTARTED"), *LINES[1:]],
        [*LINES[: HALF - 1], LINES[0], *LINES[HALF:]],
        LINES[:3],
        [],
        None,
    ],
    ids=["shorter", "compacted", "changed first", "changed last", "short", "empty", "none"],
)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were decoded, batch by batch."""
    counts: list[int] = []
    feed = RunFilter.feed

    def counted(self: RunFilter, entries: EventBatch[Any]) -> Sequence[Any]:
        counts.append(len(entries.events))
        return feed(self, entries)

    monkeypatch.setattr(RunFilter, "feed", counted)
    return counts


async def runs(backend: AmbientBackend) -> list[RunSummary]:
    return (await backend.runs.list_runs(CALLER, "s1", status=None)).runs


@cache
def cursor(position: int) -> str:
    """Return the cursor after so many events of LINES, which are followed by some that the log does not have."""
    tracker = Tracker()
    tracker.add(decode(LINES[:position]))
    tracker.add(decode([b'{"type":"RUN_STARTED"}'] * (position - len(LINES))))
    return str(tracker.cursor)


async def page(
    backend: AmbientBackend, after: int | str, run_id: str | None = None, format: OutputFormat = OutputFormat.EVENTS
) -> EventLog:
    wanted = LogPage(after=after if isinstance(after, str) else cursor(after), limit=100)
    found = await backend.output.get_session_output(CALLER, "s1", format=format, run_id=run_id, page=wanted)
    assert isinstance(found, EventLog)
    return found


async def uncached_page(platform: FakePlatform, *arguments: Any) -> EventLog:
    async with connected(platform.url) as backend:
        return await page(backend, *arguments)


async def uncached(platform: FakePlatform) -> tuple[list[RunSummary], list[Message]]:
    async with connected(platform.url) as backend:
        return await runs(backend), await transcript(backend, CALLER, "s1")


async def test_only_new_events_of_a_log_are_decoded(
    platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    known = 0
    for end in (HALF, HALF, HALF + 1, HALF + 500, len(LINES)):
        platform.runner.logs["s1"] = LINES[:end]
        expected = await uncached(platform)
        decoded.clear()
        assert (await runs(backend), await transcript(backend, CALLER, "s1")) == expected
        assert sum(decoded) == 2 * (end - known)
        known = end


async def test_whole_log_is_decoded_each_time_without_a_cache(platform: FakePlatform, decoded: list[int]) -> None:
    platform.runner.logs["s1"] = LINES
    expected = await uncached(platform)
    async with connected(platform.url, log_cache_bytes=0) as backend:
        for _ in range(2):
            decoded.clear()
            assert (await runs(backend), await transcript(backend, CALLER, "s1")) == expected
            assert sum(decoded) == 2 * len(LINES)


async def test_only_new_events_of_one_run_are_decoded(
    platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES[:-30]
    await transcript(backend, CALLER, "s1", RUN)
    platform.runner.logs["s1"] = LINES
    decoded.clear()
    again = await transcript(backend, CALLER, "s1", RUN)
    assert sum(decoded) == 30
    assert again == (await uncached(platform))[1][-len(again) :]


@REWRITTEN
async def test_rewritten_log_is_read_as_a_whole(
    now: list[bytes] | None, platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.logs["s1"] = LINES[:HALF]
    await runs(backend)
    await transcript(backend, CALLER, "s1")
    platform.runner.logs["s1"] = now
    for _ in range(2):
        assert (await runs(backend), await transcript(backend, CALLER, "s1")) == await uncached(platform)


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
async def test_page_is_read_from_near_its_start(
    format: OutputFormat, platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    found: list[bytes] = []
    after, pages = "0", 0
    while True:
        next_page = await page(backend, after, None, format)
        found += [bytes(event) for event in next_page.events]
        pages += 1
        if next_page.next_after is None:
            break
        after = next_page.next_after
    assert sum(decoded) < len(LINES) + 600 * pages
    assert found == [bytes(event) for event in await stored_events(backend, CALLER, "s1", format)]


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
@pytest.mark.parametrize("run_id", [None, RUN])
async def test_polled_page_has_the_new_events(
    run_id: str | None, format: OutputFormat, platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    before = len(LINES) - 50
    platform.runner.logs["s1"] = LINES[:before]
    await page(backend, before, run_id, format)
    for end in (before, before + 1, before + 20, len(LINES)):
        platform.runner.logs["s1"] = LINES[:end]
        expected = await uncached_page(platform, before, run_id, format)
        decoded.clear()
        assert await page(backend, before, run_id, format) == expected
        assert sum(decoded) <= end - before + 600  # those after the last lasting event before the page


async def test_refused_page_does_not_drop_the_checkpoints(
    platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    await page(backend, len(LINES))
    for after in (len(LINES) + 1, len(LINES) + 2):
        with pytest.raises(CursorExpired):
            await page(backend, after)
    decoded.clear()
    assert not (await page(backend, len(LINES))).events
    assert sum(decoded) == 0


async def test_cached_run_is_found_by_any_spelling_of_its_id(
    platform: FakePlatform, backend: AmbientBackend, decoded: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    await transcript(backend, CALLER, "s1", RUN)
    await page(backend, len(LINES), RUN)
    decoded.clear()
    assert await transcript(backend, CALLER, "s1", f"urn:uuid:{RUN.upper()}")
    assert not (await page(backend, len(LINES), RUN.upper())).events
    assert sum(decoded) == 0


@REWRITTEN
async def test_page_of_a_rewritten_log_is_that_of_the_new_log(
    now: list[bytes] | None, platform: FakePlatform, backend: AmbientBackend
) -> None:
    for run_id in (None, LOG[0].run_id, RUN):
        platform.runner.logs["s1"] = LINES
        await page(backend, HALF, run_id)
        platform.runner.logs["s1"] = now
        for after in (HALF, HALF - 500, 0):
            try:
                expected = await uncached_page(platform, after, run_id)
            except (CursorExpired, RunNotFound) as error:
                with pytest.raises(type(error)):
                    await page(backend, after, run_id)
            else:
                assert await page(backend, after, run_id) == expected


async def test_aborted_and_concurrent_reads_do_not_spoil_the_cache(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.logs["s1"] = LINES
    whole = (await uncached(platform))[1]
    for _ in range(2):
        left = await backend.output.get_session_output(CALLER, "s1", format=OutputFormat.TRANSCRIPT, run_id=None)
        assert isinstance(left, StreamedBody)
        await anext(left.chunks)
        assert await transcript(backend, CALLER, "s1") == whole
        await left.chunks.aclose()
        both = tuple(await asyncio.gather(transcript(backend, CALLER, "s1"), transcript(backend, CALLER, "s1")))
        assert both == (whole, whole)


async def test_unknown_run_is_found_once_it_is_in_the_log(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.logs["s1"] = LINES[:HALF]
    for _ in range(2):
        with pytest.raises(RunNotFound):
            await transcript(backend, CALLER, "s1", RUN)
    platform.runner.logs["s1"] = LINES
    assert await transcript(backend, CALLER, "s1", RUN)
