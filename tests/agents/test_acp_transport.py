"""The line to an ACP agent: what is passed on, what is dropped, and that nothing on it grows without bound."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.agents.acp import transport as module
from app.agents.acp.transport import LEAST_BYTES, MAX_QUEUED_BYTES, LineTransport, UpdateQueue
from tests.support.server import Background


class Ears:
    """The other side of a wire: what it was told, and what it wrote."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.complaints: list[str] = []
        self.written: list[dict[str, Any]] = []

    async def hear(self, params: Any, _size: int) -> None:
        self.updates.append(params)

    def write(self, line: bytes) -> None:
        self.written.append(msgspec.json.decode(line))

    async def drain(self) -> None:
        """Whoever reads keeps up."""


def wired(*lines: bytes | dict[str, Any], limit: int = 1000) -> tuple[LineTransport, Ears]:
    """A wire on which an agent says all these lines and leaves."""
    ears, reader = Ears(), asyncio.StreamReader(limit=limit)
    for line in lines:
        reader.feed_data((line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n")
    reader.feed_eof()
    return LineTransport(reader, ears, ears.hear, ears.complaints.append), ears  # type: ignore[arg-type]  # a writer in small


async def received(wire: LineTransport) -> list[dict[str, Any]]:
    messages = []
    while message := await wire.receive():
        messages.append(message)
    return messages


def request(id_: Any, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": "fs/read_text_file", "params": params}


def update(**params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


async def test_updates_are_heard_and_requests_and_answers_received_in_order() -> None:
    answer = {"jsonrpc": "2.0", "id": 0, "result": {}}
    wire, ears = wired(update(n=1), request("a"), update(n=2), {"jsonrpc": "2.0", "method": "_other"}, answer)
    assert await received(wire) == [request("a"), answer]
    assert ears.updates == [{"n": 1}, {"n": 2}]
    assert (wire.ended, wire.failure) == (True, None)


@pytest.mark.parametrize(
    "line",
    [
        b"Debugger listening on port 9229",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"id": NaN}',
        b'{"id": {}, "method": "x"}',
        b'{"id": 1, "error": "no"}',
        b'{"id": 1, "method": ["x"]}',
        b"[" * 100_000,
    ],
)
async def test_a_line_that_is_not_of_the_protocol_is_told_and_skipped(line: bytes) -> None:
    wire, ears = wired(line, request(1))
    assert await received(wire) == [request(1)]
    assert len(ears.complaints) == 1
    assert len(ears.complaints[0]) < 300


async def test_an_agent_that_babbles_does_not_fill_the_log() -> None:
    wire, ears = wired(*[b"babble"] * 1000, b"", b"  ")
    assert await received(wire) == []
    assert len(ears.complaints) == module.MAX_COMPLAINTS


async def test_a_long_line_comes_whole() -> None:
    long = request(1, path="x" * 100_000)
    wire, _ = wired(long, request(2))
    assert await received(wire) == [long, request(2)]


async def test_a_line_without_end_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 10_000)
    reader = asyncio.StreamReader(limit=1000)
    wire = LineTransport(reader, None, Ears().hear, print)  # type: ignore[arg-type]  # nothing is written
    receiving = asyncio.create_task(wire.receive())
    for _ in range(20):
        reader.feed_data(b"x" * 1000)
        await asyncio.sleep(0)
    assert await receiving is None
    assert wire.failure == "The agent sent a message that is too large."


async def test_the_meta_of_a_request_takes_the_place_of_no_parameter() -> None:
    wire, _ = wired(request(1, path="/w/a", _meta={"path": "/etc/passwd"}))
    assert await received(wire) == [request(1, path="/w/a")]


async def test_only_so_many_requests_wait_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REQUESTS", 2)
    wire, ears = wired(request(1), request(2), request(2), request(3), request(4))
    assert (await wire.receive(), await wire.receive()) == (request(1), request(2))
    await wire.send({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert await received(wire) == [request(3)]
    refused = [message["id"] for message in ears.written if "error" in message]
    assert refused == [2, 4], "one that repeats another's id is refused too"


async def test_requests_that_wait_hold_only_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 5000)
    big = [request(number, content="x" * 2000) for number in range(3)]
    wire, ears = wired(*big)
    assert await received(wire) == big[:2]
    assert [message["id"] for message in ears.written] == [2]


async def test_only_so_many_large_answers_are_made_at_once() -> None:
    """The agent's next line waits until one of them has been taken."""
    requests = [request(number) for number in range(module.MAX_BULKY + 1)]
    wire, _ = wired(*requests)
    assert [await wire.receive() for _ in requests[1:]] == requests[:-1]
    receiving = asyncio.create_task(wire.receive())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not receiving.done()
    await wire.send({"jsonrpc": "2.0", "id": 0, "result": {}})
    assert await receiving == requests[-1]


async def test_an_answer_to_an_agent_that_has_gone_is_no_error() -> None:
    wire, ears = wired(request(1))
    await wire.receive()

    async def broken() -> None:
        raise ConnectionResetError

    ears.drain = broken  # type: ignore[method-assign]
    await wire.send({"id": 1, "result": {}})
    with pytest.raises(ConnectionResetError):
        await wire.send({"id": 1, "method": "session/prompt"})


async def fill(updates: UpdateQueue, size: int) -> int:
    """How many updates of a size an agent gets rid of before it has to wait."""
    for number in range(10**6):
        putting = asyncio.create_task(updates.put(number, size))
        await asyncio.sleep(0)
        if not putting.done():
            putting.cancel()
            return number
    raise AssertionError("it never has to wait")


@pytest.mark.parametrize(
    ("size", "expected"), [(1, MAX_QUEUED_BYTES // LEAST_BYTES), (MAX_QUEUED_BYTES, 1), (MAX_QUEUED_BYTES // 2, 2)]
)
async def test_an_agent_that_floods_waits_until_its_updates_are_taken(size: int, expected: int) -> None:
    updates = UpdateQueue()
    assert await fill(updates, size) == expected
    waiting = asyncio.create_task(updates.put("next", size))
    assert await updates.get() == 0
    await waiting


@pytest.mark.parametrize("end", [UpdateQueue.abandon, UpdateQueue.finish])
async def test_the_end_of_a_turn_holds_nobody(end: Callable[[UpdateQueue], None]) -> None:
    updates = UpdateQueue()
    count = await fill(updates, MAX_QUEUED_BYTES)
    end(updates)
    if end is UpdateQueue.abandon:
        await updates.put("late", 1)
    else:
        assert [await updates.get() for _ in range(count + 1)] == [*range(count), None]


def test_a_line_to_a_process_that_has_ended_is_broken_on_the_servers_loop_too(loop: Background) -> None:
    async def talk() -> None:
        process = await asyncio.create_subprocess_exec(
            "false", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        wire = LineTransport(process.stdout, process.stdin, Ears().hear, Ears().complaints.append)
        await process.wait()
        while True:  # the end of the pipe may take a moment longer than that of the process
            await wire.send({"id": 1, "method": "initialize"})

    with pytest.raises(ConnectionError):
        loop.run(talk())
