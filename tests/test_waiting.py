"""Ways to wait, when the caller is cancelled or nothing comes."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.backends.embedded.unfinished import Unfinished
from app.waiting import completed, is_set_within, shielded

Wait = Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("wait", [shielded, Unfinished().finish])
async def test_work_goes_on_and_its_error_is_not_reported_when_its_caller_is_cancelled(wait: Wait) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    go_on, went_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        await go_on.wait()
        went_on.set()
        raise KeyError

    caller = asyncio.create_task(wait(fail()))
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

    for wait in (shielded, completed):
        assert await wait(respond(None)) == 1
        with pytest.raises(KeyError):
            await wait(respond(KeyError))


async def test_a_cancelled_caller_goes_on_once_its_work_has_ended() -> None:
    go_on, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await go_on.wait()
        ended = True

    caller = asyncio.create_task(completed(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended


async def test_an_event_is_waited_for_as_long_as_permitted() -> None:
    event = asyncio.Event()
    assert await is_set_within(event, 0) is False
    asyncio.get_running_loop().call_soon(event.set)
    assert await is_set_within(event, 60) is True
    assert await is_set_within(event, -1) is True
