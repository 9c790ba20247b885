"""The transport to an ACP agent: which lines are passed on and which dropped, and that nothing grows without bound."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.agents.acp import transport as module
from app.agents.acp.transport import LineTransport
from app.agents.acp.updates import MAX_QUEUED_BYTES, MIN_UPDATE_BYTES, UpdateQueue
from tests.support.server import Background


class Recorder:
    """The other sides of a transport, as a stream writer too: what each of them got."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.logged: list[str] = []
        self.written: list[dict[str, Any]] = []

    async def on_update(self, params: Any, _size: int) -> None:
        self.updates.append(params)

    def write(self, line: bytes) -> None:
        self.written.append(msgspec.json.decode(line))

    async def drain(self) -> None:
        """Nothing has to be waited for."""


def make_transport(*lines: bytes | dict[str, Any], limit: int = 1000) -> tuple[LineTransport, Recorder]:
    """Return a transport whose agent writes these lines and closes the stream."""
    recorder, reader = Recorder(), asyncio.StreamReader(limit=limit)
    for line in lines:
        reader.feed_data((line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n")
    reader.feed_eof()
    return LineTransport(reader, recorder, recorder.on_update, recorder.logged.append), recorder  # type: ignore[arg-type]  # it has the methods that are called


async def receive_all(transport: LineTransport) -> list[dict[str, Any]]:
    messages = []
    while message := await transport.receive():
        messages.append(message)
    return messages


def request(id_: Any, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": "fs/read_text_file", "params": params}


def update(**params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


async def test_updates_requests_and_responses_are_passed_on_in_order() -> None:
    response = {"jsonrpc": "2.0", "id": 0, "result": {}}
    transport, recorder = make_transport(
        update(n=1), request("a"), update(n=2), {"jsonrpc": "2.0", "method": "_other"}, response
    )
    assert await receive_all(transport) == [request("a"), response]
    assert recorder.updates == [{"n": 1}, {"n": 2}]
    assert (transport.ended, transport.failure) == (True, None)


@pytest.mark.parametrize(
    "line",
    [
        b"Debugger listening on port 9229",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"id": NaN}',
        b'{"id": {}, "method": "x"}',
        b"[" * 100_000,
    ],
)
async def test_a_line_that_is_no_message_is_logged_and_skipped(line: bytes) -> None:
    transport, recorder = make_transport(line, request(1))
    assert await receive_all(transport) == [request(1)]
    assert len(recorder.logged) == 1
    assert len(recorder.logged[0]) < 300


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "method": ["x"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"fs/read_text_file","params":' + b"[" * 5000,
        b'{"jsonrpc":"2.0","method":"x","params":{"id":7,"a":' + b"[" * 2000 + b"]" * 2000 + b'},"id":1}',
        b'{"id":1,"method":"x","params":{"text":"cut off',
    ],
)
async def test_a_request_that_cannot_be_read_is_answered(line: bytes) -> None:
    transport, recorder = make_transport(line, request(2))
    assert await receive_all(transport) == [request(2)]
    assert [(message["id"], message["error"]["code"]) for message in recorder.written] == [(1, -32600)]
    assert len(recorder.logged) == 1


@pytest.mark.parametrize(
    "line", [b'{"id": 1, "error": "no"}', b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 5000, b'{"id":1,"result":{"a":']
)
async def test_a_response_that_cannot_be_read_fails_its_request(line: bytes) -> None:
    transport, _ = make_transport(line)
    [response] = await receive_all(transport)
    assert (response["id"], response["error"]["code"]) == (1, -32603)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb'"party \ud83c"', "party \ufffd"),
        (rb'"\udf89 time"', "\ufffd time"),
        (rb'"\ud83c\ud83c\udf89"', "\ufffd\U0001f389"),
        (b'"\xff"', "\ufffd"),
        (b"NaN", None),
        (b"[-Infinity, 1e400]", [None, None]),
        (b"-1" + b"0" * 5000, None),
    ],
)
async def test_a_request_is_read_as_javascript_and_python_write_it(text: bytes, read: Any) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"fs/read_text_file","params":{"path":%b}}' % text
    transport, _ = make_transport(line)
    assert await receive_all(transport) == [request(1, path=read)]


async def test_a_response_that_cannot_be_written_is_an_error() -> None:
    transport, recorder = make_transport(request(1))
    await receive_all(transport)
    await transport.send({"jsonrpc": "2.0", "id": 1, "error": {"data": ValueError("no JSON")}})
    assert [message["error"]["code"] for message in recorder.written] == [-32603]


async def test_an_error_without_an_id_is_logged() -> None:
    transport, recorder = make_transport({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse"}})
    assert await receive_all(transport) == []
    assert recorder.logged == ["could not read a message: Parse"]


async def test_only_the_first_invalid_lines_are_logged() -> None:
    transport, recorder = make_transport(*[b"babble"] * 1000, b"", b"  ")
    assert await receive_all(transport) == []
    assert len(recorder.logged) == module.MAX_LOGGED_LINES


async def test_a_long_line_is_received_whole() -> None:
    long = request(1, path="x" * 100_000)
    transport, _ = make_transport(long, request(2))
    assert await receive_all(transport) == [long, request(2)]


async def test_an_endless_line_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 10_000)
    reader = asyncio.StreamReader(limit=1000)
    transport = LineTransport(reader, None, Recorder().on_update, print)  # type: ignore[arg-type]  # nothing is written
    receiving = asyncio.create_task(transport.receive())
    for _ in range(20):
        reader.feed_data(b"x" * 1000)
        await asyncio.sleep(0)
    assert await receiving is None
    assert transport.failure == "The agent sent a message that is too large."


async def test_the_meta_of_a_request_replaces_no_parameter() -> None:
    transport, _ = make_transport(request(1, path="/w/a", _meta={"path": "/etc/passwd"}))
    assert await receive_all(transport) == [request(1, path="/w/a")]


async def test_pending_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    transport, recorder = make_transport(request(1), request(2), request(2), request(3), request(4))
    assert (await transport.receive(), await transport.receive()) == (request(1), request(2))
    await transport.send({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert await receive_all(transport) == [request(3)]
    refused = [message["id"] for message in recorder.written if "error" in message]
    assert refused == [2, 4], "one that repeats another's id is refused too"


async def test_the_bytes_of_pending_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_BYTES", 5000)
    big = [request(number, content="x" * 2000) for number in range(3)]
    transport, recorder = make_transport(*big)
    assert await receive_all(transport) == big[:2]
    assert [message["id"] for message in recorder.written] == [2]


async def test_large_responses_are_bounded() -> None:
    """The agent's next line is read once one of them has been sent."""
    requests = [request(number) for number in range(module.MAX_LARGE_RESPONSES + 1)]
    transport, _ = make_transport(*requests)
    assert [await transport.receive() for _ in requests[1:]] == requests[:-1]
    receiving = asyncio.create_task(transport.receive())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not receiving.done()
    await transport.send({"jsonrpc": "2.0", "id": 0, "result": {}})
    assert await receiving == requests[-1]


async def test_a_response_to_an_agent_that_has_gone_is_dropped() -> None:
    transport, recorder = make_transport(request(1))
    await transport.receive()

    async def broken() -> None:
        raise ConnectionResetError

    recorder.drain = broken  # type: ignore[method-assign]
    await transport.send({"id": 1, "result": {}})
    with pytest.raises(ConnectionResetError):
        await transport.send({"id": 1, "method": "session/prompt"})


async def fill(updates: UpdateQueue, size: int) -> int:
    """Return how many updates of a size fit before the producer has to wait."""
    for number in range(10**6):
        putting = asyncio.create_task(updates.put(number, size))
        await asyncio.sleep(0)
        if not putting.done():
            putting.cancel()
            return number
    raise AssertionError("the producer never waits")


@pytest.mark.parametrize(
    ("size", "expected"), [(1, MAX_QUEUED_BYTES // MIN_UPDATE_BYTES), (MAX_QUEUED_BYTES, 1), (MAX_QUEUED_BYTES // 2, 2)]
)
async def test_the_producer_waits_until_updates_are_taken(size: int, expected: int) -> None:
    updates = UpdateQueue()
    assert await fill(updates, size) == expected
    waiting = asyncio.create_task(updates.put("next", size))
    assert await updates.get() == 0
    await waiting


@pytest.mark.parametrize("end", [UpdateQueue.abandon, UpdateQueue.finish])
async def test_nobody_waits_after_the_end_of_a_turn(end: Callable[[UpdateQueue], object]) -> None:
    updates = UpdateQueue()
    count = await fill(updates, MAX_QUEUED_BYTES)
    end(updates)
    if end is UpdateQueue.abandon:
        await updates.put("late", 1)
    else:
        assert [await updates.get() for _ in range(count + 1)] == [*range(count), None]


def test_sending_to_a_process_that_has_ended_fails_on_the_servers_loop_too(loop: Background) -> None:
    async def talk() -> None:
        process = await asyncio.create_subprocess_exec(
            "false", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        transport = LineTransport(process.stdout, process.stdin, Recorder().on_update, Recorder().logged.append)
        await process.wait()
        while True:  # the end of the pipe may take a moment longer than that of the process
            await transport.send({"id": 1, "method": "initialize"})

    with pytest.raises(ConnectionError):
        loop.run(talk())
