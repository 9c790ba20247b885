"""An answer to wait for: whole, or what there is when the server stops."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from app.answers import Waited
from app.contract.answer import send_answer
from app.errors import RunNotFound
from app.types import AcceptedRun

RUN = AcceptedRun(run_id="r", thread_id="t")
BODY = b'{"run_id":"r","thread_id":"t"}'


class Request:
    """A request whose answer is waited for, on a connection that knows whether the server stops."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.connection = SimpleNamespace(stopping=asyncio.Event())

    async def answer(self, result: Waited) -> Any:
        scope = {"type": "http", "method": "GET", "state": {"connection": self.connection}}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await send_answer(scope, asyncio.Future, send, 200, result, replayed=False)
        return self.sent[-1]["body"]


async def now() -> AcceptedRun:
    return RUN


async def never() -> AcceptedRun:
    await asyncio.Event().wait()
    raise AssertionError


async def lost() -> AcceptedRun:
    raise RunNotFound


@pytest.mark.parametrize("seconds", [0, 60])
async def test_the_answer_is_sent_when_it_is_there(seconds: int) -> None:
    request = Request()
    assert await request.answer(Waited(seconds, now(), at_once=never)) == BODY


async def test_what_there_is_is_sent_when_the_server_stops() -> None:
    request = Request()
    waiting = asyncio.ensure_future(never())
    answering = asyncio.create_task(request.answer(Waited(60, waiting, at_once=now)))
    await asyncio.sleep(0)
    assert request.sent == []
    request.connection.stopping.set()
    assert await answering == BODY
    assert waiting.cancelled()


@pytest.mark.parametrize("seconds", [0, 60])
async def test_an_error_is_raised_before_anything_is_sent(seconds: int) -> None:
    request = Request()
    with pytest.raises(RunNotFound):
        await request.answer(Waited(seconds, lost(), at_once=never))
    assert request.sent == []
