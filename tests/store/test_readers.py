"""Many who follow one session: what they read at the same position is read once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from app.agents.port import Turn
from app.errors import StorageUnavailable
from app.models.output import OutputFormat
from app.results import EventStream, StreamEvent
from app.store.notifier import SHARED_READS, WAKE_BATCH, ChangeNotifier
from app.store.sqlite.database import SqliteDatabase
from app.store.statements import driver
from tests.support.scripted import CALLER, FINISHED, STARTED, House, event, house, until

READERS = 30


class Reader:
    """Reads a stream to its end."""

    def __init__(self, stream: EventStream) -> None:
        self.frames: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: EventStream) -> None:
        async for page in stream.pages:
            self.frames += page

    @property
    def deltas(self) -> list[str]:
        events = [msgspec.json.decode(frame.event) for frame in self.frames]
        return [each["delta"] for each in events if each["type"] == "TEXT_MESSAGE_CONTENT"]


async def reader(home: House, session_id: str, format: OutputFormat, run_id: str | None = None) -> Reader:
    return Reader(await home.backend.stream_session_events(CALLER, session_id, after=0, run_id=run_id, format=format))


async def test_readers_at_one_position_have_the_store_read_once(tmp_path: Path) -> None:
    words: asyncio.Queue[str] = asyncio.Queue()

    async def dictated(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield event("TEXT_MESSAGE_START", messageId="m", role="assistant")
        while word := await words.get():
            yield event("TEXT_MESSAGE_CONTENT", messageId="m", delta=word)
        yield event("TEXT_MESSAGE_END", messageId="m")
        yield FINISHED

    async with house(tmp_path, dictated) as home:
        session_id = await home.create()
        [run] = await home.runs(session_id)
        await home.active(session_id, run.run_id, at_least=2)
        readers = [await reader(home, session_id, OutputFormat.EVENTS) for _ in range(READERS)]
        joined = await reader(home, session_id, OutputFormat.COMPACT)
        narrowed = await reader(home, session_id, OutputFormat.EVENTS, run.run_id)
        followers = [*readers, narrowed]

        async def heard(word: str) -> None:
            await words.put(word)

            async def all_have_it() -> bool:
                return all(word in each.deltas for each in followers)

            await until(all_have_it)

        await heard("first")
        statements: list[str] = []
        database = home.backend._database
        assert isinstance(database, SqliteDatabase)
        reading = driver(database._reader)
        reading.set_trace_callback(statements.append)
        await heard("second")
        reading.set_trace_callback(None)
        assert 0 < sum("FROM events" in statement for statement in statements) < READERS
        await words.put("")
        await narrowed.task
        await home.backend.delete_session(CALLER, session_id)
        await asyncio.gather(joined.task, *(each.task for each in readers))
        assert all(each.deltas == ["first", "second"] for each in followers)
        assert [frame.position for frame in readers[0].frames] == list(range(1, 7))
        assert joined.deltas == ["firstsecond"]


class Source:
    """Reads return `value` once `open` is set, and are counted."""

    def __init__(self) -> None:
        self.value = "old"
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self) -> str:
        self.reads += 1
        await self.open.wait()
        if self.value == "failure":
            raise StorageUnavailable
        return self.value


class TestSharedReads:
    @pytest.fixture
    def notifier(self) -> ChangeNotifier:
        return ChangeNotifier()

    @pytest.fixture
    def source(self) -> Source:
        return Source()

    async def test_a_result_is_shared_until_the_session_changes(self, notifier: ChangeNotifier, source: Source) -> None:
        with notifier.subscribe(1), notifier.subscribe(1):
            assert await notifier.read_shared(1, "key", source.read) == "old"
            source.value = "new"
            assert await notifier.read_shared(1, "key", source.read) == "old"
            notifier.notify([2])
            assert await notifier.read_shared(1, "key", source.read) == "old"
            notifier.notify([1])
            assert await notifier.read_shared(1, "key", source.read) == "new"

    async def test_those_who_come_while_another_reads_wait_for_its_result(
        self, notifier: ChangeNotifier, source: Source
    ) -> None:
        with notifier.subscribe(1), notifier.subscribe(1):
            source.open.clear()
            first, *others = [asyncio.create_task(notifier.read_shared(1, "key", source.read)) for _ in range(5)]
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            source.open.set()
            assert await asyncio.gather(*others) == ["old"] * 4
            assert first.cancelled()
            assert source.reads == 1

    async def test_a_change_during_a_read_makes_the_next_subscriber_read_again(
        self, notifier: ChangeNotifier, source: Source
    ) -> None:
        with notifier.subscribe(1), notifier.subscribe(1):
            source.open.clear()
            before = asyncio.create_task(notifier.read_shared(1, "key", source.read))
            await asyncio.sleep(0)
            notifier.notify([1])
            after = asyncio.create_task(notifier.read_shared(1, "key", source.read))
            source.open.set()
            await asyncio.gather(before, after)
            assert source.reads == 2

    async def test_a_failed_read_is_tried_again(self, notifier: ChangeNotifier, source: Source) -> None:
        with notifier.subscribe(1), notifier.subscribe(1):
            source.value = "failure"
            with pytest.raises(StorageUnavailable):
                await notifier.read_shared(1, "key", source.read)
            source.value = "new"
            assert await notifier.read_shared(1, "key", source.read) == "new"

    async def test_only_the_last_results_are_remembered(self, notifier: ChangeNotifier, source: Source) -> None:
        with notifier.subscribe(1), notifier.subscribe(1):
            for number in range(SHARED_READS + 1):
                await notifier.read_shared(1, number, source.read)
            source.value = "new"
            assert await notifier.read_shared(1, 0, source.read) == "new"
            assert await notifier.read_shared(1, SHARED_READS, source.read) == "old"

    async def test_nothing_is_remembered_for_a_single_subscriber(
        self, notifier: ChangeNotifier, source: Source
    ) -> None:
        with notifier.subscribe(1):
            assert await notifier.read_shared(1, "key", source.read) == "old"
            source.value = "new"
            assert await notifier.read_shared(1, "key", source.read) == "new"


async def test_all_who_watch_are_woken_and_not_all_at_once() -> None:
    bell = ChangeNotifier()
    with ExitStack() as stack:
        watching = [stack.enter_context(bell.subscribe(1)) for _ in range(2 * WAKE_BATCH + 1)]
        bell.notify([1])
        woken = []
        while not all(rung.is_set() for rung in watching):
            woken.append(sum(rung.is_set() for rung in watching))
            await asyncio.sleep(0)
        assert woken == [WAKE_BATCH, 2 * WAKE_BATCH]
