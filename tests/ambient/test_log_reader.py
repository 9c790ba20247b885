"""Long logs of the platform that are read again: only what is new is, and the answers are as if all were."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.agui.events import EventBatch
from app.agui.renderers import RunFilter
from app.backends.ambient.backend import AmbientBackend
from app.errors import CursorAhead, RunNotFound
from app.models.output import EventLog, LogPage, Message, OutputFormat
from app.models.runs import RunSummary
from app.results import StreamedBody
from tests.bench import exports
from tests.support.output import stored_events, told
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
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        platform.add_session("demo", "s1")
        yield platform


@pytest.fixture
async def backend(platform: FakePlatform) -> AsyncIterator[AmbientBackend]:
    async with connected(platform.url) as backend:
        yield backend


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were read, slice by slice."""
    counts: list[int] = []
    take = RunFilter.feed

    def counted(self: RunFilter, entries: EventBatch[Any]) -> EventBatch[Any]:
        counts.append(len(entries.events))
        return take(self, entries)

    monkeypatch.setattr(RunFilter, "feed", counted)
    return counts


async def runs(backend: AmbientBackend) -> list[RunSummary]:
    return (await backend.list_runs(CALLER, "s1", status=None)).runs


async def page(
    backend: AmbientBackend, after: int, run_id: str | None = None, format: OutputFormat = OutputFormat.EVENTS
) -> EventLog:
    wanted = LogPage(after=after, limit=100)
    found = await backend.get_session_output(CALLER, "s1", format=format, run_id=run_id, page=wanted)
    assert isinstance(found, EventLog)
    return found


async def page_anew(platform: FakePlatform, *asked: Any) -> EventLog:
    async with connected(platform.url) as backend:
        return await page(backend, *asked)


async def asked_anew(platform: FakePlatform) -> tuple[list[RunSummary], list[Message]]:
    async with connected(platform.url) as backend:
        return await runs(backend), await told(backend, CALLER, "s1")


async def test_of_a_log_that_has_grown_only_the_new_is_read(
    platform: FakePlatform, backend: AmbientBackend, taken: list[int]
) -> None:
    known = 0
    for end in (HALF, HALF, HALF + 1, HALF + 500, len(LINES)):
        platform.runner.logs["s1"] = LINES[:end]
        expected = await asked_anew(platform)
        taken.clear()
        assert (await runs(backend), await told(backend, CALLER, "s1")) == expected
        assert sum(taken) == 2 * (end - known)
        known = end


async def test_of_one_run_too(platform: FakePlatform, backend: AmbientBackend, taken: list[int]) -> None:
    platform.runner.logs["s1"] = LINES[:-30]
    await told(backend, CALLER, "s1", RUN)
    platform.runner.logs["s1"] = LINES
    taken.clear()
    again = await told(backend, CALLER, "s1", RUN)
    assert sum(taken) == 30
    assert again == (await asked_anew(platform))[1][-len(again) :]


@REWRITTEN
async def test_a_log_that_was_rewritten_is_read_anew(
    now: list[bytes] | None, platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.logs["s1"] = LINES[:HALF]
    await runs(backend)
    await told(backend, CALLER, "s1")
    platform.runner.logs["s1"] = now
    for _ in range(2):
        assert (await runs(backend), await told(backend, CALLER, "s1")) == await asked_anew(platform)


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
async def test_a_page_is_read_from_near_its_beginning(
    format: OutputFormat, platform: FakePlatform, backend: AmbientBackend, taken: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    found, after, pages = [], 0, 0
    while True:
        next_page = await page(backend, after, None, format)
        found += [bytes(event) for event in next_page.events]
        pages += 1
        if next_page.next_after is None:
            break
        after = next_page.next_after
    assert sum(taken) < len(LINES) + 600 * pages
    assert found == [bytes(event) for event in await stored_events(backend, CALLER, "s1", format)]


@pytest.mark.parametrize("format", [OutputFormat.EVENTS, OutputFormat.COMPACT])
@pytest.mark.parametrize("run_id", [None, RUN])
async def test_who_polls_for_pages_gets_what_has_come(
    run_id: str | None, format: OutputFormat, platform: FakePlatform, backend: AmbientBackend, taken: list[int]
) -> None:
    before = len(LINES) - 50
    platform.runner.logs["s1"] = LINES[:before]
    await page(backend, before, run_id, format)
    for end in (before, before + 1, before + 20, len(LINES)):
        platform.runner.logs["s1"] = LINES[:end]
        expected = await page_anew(platform, before, run_id, format)
        taken.clear()
        assert await page(backend, before, run_id, format) == expected
        assert sum(taken) <= end - before


async def test_a_page_that_is_refused_spoils_nothing(
    platform: FakePlatform, backend: AmbientBackend, taken: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    await page(backend, len(LINES))
    for after in (len(LINES) + 1, len(LINES) + 2):
        with pytest.raises(CursorAhead):
            await page(backend, after)
    taken.clear()
    assert not (await page(backend, len(LINES))).events
    assert sum(taken) == 0


async def test_one_run_is_known_however_its_id_is_spelled(
    platform: FakePlatform, backend: AmbientBackend, taken: list[int]
) -> None:
    platform.runner.logs["s1"] = LINES
    await told(backend, CALLER, "s1", RUN)
    await page(backend, len(LINES), RUN)
    taken.clear()
    assert await told(backend, CALLER, "s1", f"urn:uuid:{RUN.upper()}")
    assert not (await page(backend, len(LINES), RUN.upper())).events
    assert sum(taken) == 0


@REWRITTEN
async def test_a_page_of_a_log_that_was_rewritten_is_that_of_the_new_one(
    now: list[bytes] | None, platform: FakePlatform, backend: AmbientBackend
) -> None:
    for run_id in (None, LOG[0].run_id, RUN):
        platform.runner.logs["s1"] = LINES
        await page(backend, HALF, run_id)
        platform.runner.logs["s1"] = now
        for after in (HALF, HALF - 500, 0):
            try:
                expected = await page_anew(platform, after, run_id)
            except (CursorAhead, RunNotFound) as error:
                with pytest.raises(type(error)):
                    await page(backend, after, run_id)
            else:
                assert await page(backend, after, run_id) == expected


async def test_who_leaves_early_or_comes_meanwhile_spoils_nothing(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    platform.runner.logs["s1"] = LINES
    whole = (await asked_anew(platform))[1]
    for _ in range(2):
        left = await backend.get_session_output(CALLER, "s1", format=OutputFormat.TRANSCRIPT, run_id=None)
        assert isinstance(left, StreamedBody)
        await anext(left.chunks)
        assert await told(backend, CALLER, "s1") == whole
        await left.chunks.aclose()
        both = tuple(await asyncio.gather(told(backend, CALLER, "s1"), told(backend, CALLER, "s1")))
        assert both == (whole, whole)


async def test_a_run_that_is_not_there_stays_unknown(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.logs["s1"] = LINES[:HALF]
    for _ in range(2):
        with pytest.raises(RunNotFound):
            await told(backend, CALLER, "s1", RUN)
    platform.runner.logs["s1"] = LINES
    assert await told(backend, CALLER, "s1", RUN)
