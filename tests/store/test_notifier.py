"""Change notifications: every subscriber is woken, and subscribers share their reads."""

import asyncio
from contextlib import ExitStack

import pytest

from app.errors import StorageUnavailable
from app.store.notifier import SHARED_READS, WAKE_BATCH, ChangeNotifier


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


async def test_all_subscribers_are_woken_in_batches() -> None:
    notifier = ChangeNotifier()
    with ExitStack() as stack:
        flags = [stack.enter_context(notifier.subscribe(1)) for _ in range(2 * WAKE_BATCH + 1)]
        notifier.notify([1])
        woken = []
        while not all(flag.is_set() for flag in flags):
            woken.append(sum(flag.is_set() for flag in flags))
            await asyncio.sleep(0)
        assert woken == [WAKE_BATCH, 2 * WAKE_BATCH]
