"""Long reads take turns and pause for everything else."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from itertools import pairwise

from app.agui.events import OPAQUE, EventBatch, OpaqueEvent
from app.fair_turns import PAUSE_ITERATIONS, WORK_SECONDS, Turns

Batch = EventBatch[OpaqueEvent]


async def log(count: int) -> AsyncGenerator[list[Batch], None]:
    for _ in range(count):
        yield [EventBatch(b"[{}]", OPAQUE)]


def work() -> None:
    time.sleep(WORK_SECONDS)


async def test_readers_alternate() -> None:
    turns, order = Turns(), list[str]()

    async def read(name: str) -> None:
        def feed(_batch: Batch) -> None:
            work()
            order.append(name)

        await turns.read(log(10), feed)

    await asyncio.gather(read("a"), read("b"))
    assert all(order[start : start + 4].count("a") in (1, 2, 3) for start in range(0, 20, 4))


async def test_everything_else_is_served_between_two_turns() -> None:
    turns, iterations, seen = Turns(), 0, list[int]()

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    def feed(_batch: Batch) -> None:
        work()
        seen.append(iterations)

    counter = asyncio.create_task(count())
    await turns.read(log(5), feed)
    counter.cancel()
    assert all(after - before >= PAUSE_ITERATIONS - 1 for before, after in pairwise(seen))


async def test_reading_ends_once_enough_is_read() -> None:
    count = 0

    def feed(_batch: Batch) -> bool:
        nonlocal count
        count += 1
        return count == 2

    await Turns().read(log(5), feed)
    assert count == 2


async def test_pieces_are_made_one_at_a_time_as_they_are_asked_for() -> None:
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(3):
            made += 1
            yield b"x"

    found = Turns().each(pieces())
    assert await anext(found) == b"x"
    assert made == 1
    assert [piece async for piece in found] == [b"x", b"x"]
