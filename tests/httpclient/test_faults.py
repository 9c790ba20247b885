"""A fault at any step of an exchange leaves no connection behind, whichever side has it."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest
import uvloop

from app.httpclient.client import HttpClient
from tests.support.cutting import stop_accepting
from tests.support.server import LOCALHOST

MOST_STEPS = 200
PARTS = (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\n", b"{", b" ", b" }")


class Peer:
    """A server whose response comes in parts, each in an iteration of the event loop of its own."""

    def __init__(self) -> None:
        self.open: set[asyncio.Transport] = set()
        self.changed = asyncio.Event()

    async def listen(self) -> str:
        """Start to listen and return the URL."""
        self._server = await asyncio.get_running_loop().create_server(lambda: Answers(self), LOCALHOST, 0)
        return f"http://{LOCALHOST}:{self._server.sockets[0].getsockname()[1]}"

    async def all_closed(self) -> None:
        """Return once the client has closed all connections."""
        await stop_accepting(self._server.sockets[0])
        async with asyncio.timeout(10):
            while self.open:
                self.changed.clear()
                await self.changed.wait()

    async def die(self) -> None:
        """Listen no more and cut all connections, as when a process is killed."""
        if self._server.sockets:
            await stop_accepting(self._server.sockets[0])
        self._server.close()
        for transport in self.open:
            transport.abort()


class Answers(asyncio.Protocol):
    """A connection of the peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not derive from it
        self._peer.open.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._peer.open.discard(self._transport)
        self._peer.changed.set()

    def data_received(self, _data: bytes) -> None:
        self._send(PARTS)

    def _send(self, parts: Sequence[bytes]) -> None:
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0])
            asyncio.get_running_loop().call_soon(self._send, parts[1:])


async def request(client: HttpClient) -> None:
    """Send two requests, of which the second one uses the connection of the first one."""
    for _ in range(2):
        await client.request("GET", "/x", {})


async def stream(client: HttpClient) -> None:
    """Send a request and read its response in pieces."""
    async with client.stream("/x", {}) as response:
        async for _ in response:
            await asyncio.sleep(0)


async def cancel(task: "asyncio.Task[None]", _client: HttpClient, _peer: Peer) -> None:
    task.cancel()


async def close(_task: "asyncio.Task[None]", client: HttpClient, _peer: Peer) -> None:
    await client.close()


async def die(_task: "asyncio.Task[None]", _client: HttpClient, peer: Peer) -> None:
    await peer.die()


Fault = Callable[["asyncio.Task[None]", HttpClient, Peer], Awaitable[None]]


async def is_hit(step: int, exchange: Callable[[HttpClient], Awaitable[None]], fault: Fault) -> bool:
    """Let the fault happen in this iteration of the event loop; return False if the exchange had ended before."""
    peer = Peer()
    client = HttpClient(await peer.listen(), timeout=30)
    task = asyncio.ensure_future(exchange(client))
    for _ in range(step):
        await asyncio.sleep(0)
    in_time = not task.done()
    await fault(task, client, peer)
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()):
        assert isinstance(error, OSError)
    if fault is not close:  # which has to be enough
        await client.close()
    if fault is not die:
        await peer.all_closed()
    await peer.die()
    return in_time


async def hits_of(exchange: Callable[[HttpClient], Awaitable[None]], fault: Fault) -> int:
    """Let the fault happen at one step after the other, and return at how many it met the exchange."""
    for step in range(MOST_STEPS):
        if not await is_hit(step, exchange, fault):
            return step
    pytest.fail("the exchange does not end")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("fault", [cancel, close, die], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("exchange", [request, stream], ids=lambda exchange: exchange.__name__)
def test_no_connection_is_left_by_a_fault_at_any_step(
    exchange: Callable[[HttpClient], Awaitable[None]], fault: Fault, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=loop) as runner:
            hits = runner.run(hits_of(exchange, fault))
        gc.collect()

    assert [str(warning.message) for warning in left] == []
    assert hits > len(PARTS)
