"""Work that goes on without its caller."""

import asyncio
import gc
from typing import Any

import pytest

from app.futures import shielded


async def test_work_goes_on_and_its_error_is_not_reported_when_its_caller_is_cancelled() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    go_on, went_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        await go_on.wait()
        went_on.set()
        raise KeyError

    caller = asyncio.create_task(shielded(fail()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await went_on.wait()
    del caller
    await asyncio.sleep(0)
    gc.collect()
    assert reported == []


async def test_a_caller_gets_the_result_or_the_error() -> None:
    async def respond(error: type[Exception] | None) -> int:
        if error:
            raise error
        return 1

    assert await shielded(respond(None)) == 1
    with pytest.raises(KeyError):
        await shielded(respond(KeyError))
