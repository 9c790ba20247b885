"""An answer to wait for: whole, or what there is when the server stops or nobody waits any more."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from app.contract.response import send_response
from app.errors import RunNotFound
from app.models.runs import AcceptedRun
from app.results import LongPoll

RUN = AcceptedRun(run_id="r", thread_id="t")
BODY = b'{"run_id":"r","thread_id":"t"}'


class Request:
    """A request whose answer is waited for, on a connection that may go, as the server may."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.connection = SimpleNamespace(stopping=asyncio.Event())
        self.gone = asyncio.Event()

    async def answer(self, result: LongPoll) -> Any:
        scope = {"type": "http", "method": "GET", "state": {"connection": self.connection}}

        async def receive() -> Message:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await send_response(scope, receive, send, 200, result)
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
    assert await request.answer(LongPoll(seconds, now(), current=never)) == BODY


@pytest.mark.parametrize("end", ["server", "client"])
async def test_nobody_waits_when_the_server_stops_or_the_client_has_gone(end: str) -> None:
    request = Request()
    waiting = asyncio.ensure_future(never())
    answering = asyncio.create_task(request.answer(LongPoll(60, waiting, current=now)))
    await asyncio.sleep(0)
    assert request.sent == []
    (request.connection.stopping if end == "server" else request.gone).set()
    assert await answering == BODY
    assert waiting.cancelled()


@pytest.mark.parametrize("seconds", [0, 60])
async def test_an_error_is_raised_before_anything_is_sent(seconds: int) -> None:
    request = Request()
    with pytest.raises(RunNotFound):
        await request.answer(LongPoll(seconds, lost(), current=never))
    assert request.sent == []
