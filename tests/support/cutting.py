"""Connections that are cut, as networks and killed processes do it."""

import asyncio
import asyncio.trsock
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.server import LOCALHOST, listening


async def stop_accepting(listener: socket.socket | asyncio.trsock.TransportSocket) -> None:
    """Take no more connections of a server of asyncio that is about to be closed; those that were taken are made.

    One that is accepted in the very iteration of the event loop in which its server is closed would be lost: nobody
    serves it, and nobody closes its transport.
    """
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(3):
        await asyncio.sleep(0)


class CuttingRelay:
    """Passes bytes on to a port; each connection is cut after the bytes of an answer that `cuts` has for it."""

    def __init__(self, listener: socket.socket, port: int, cuts: tuple[int | None, ...]) -> None:
        self.url = f"http://{LOCALHOST}:{listener.getsockname()[1]}"
        self.connections = 0
        self.on_cut: Callable[[], object] = lambda: None
        """Called before a connection is cut, but not at the end."""
        self._listener = listener
        self._port = port
        self._cuts = itertools.chain(cuts, itertools.repeat(None))
        self._clients: list[socket.socket] = []

    def run(self) -> None:
        """Take connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._clients.append(client)
                threading.Thread(target=self._relay, args=(client, next(self._cuts)), daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and cut every one that is left."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for client in self._clients:
            _cut(client)

    def _relay(self, client: socket.socket, limit: int | None) -> None:
        with client, socket.create_connection((LOCALHOST, self._port)) as server:
            threading.Thread(target=_copy, args=(client, server, None), daemon=True).start()
            _copy(server, client, limit)
            self.on_cut()
            _cut(client)
            _cut(server)


def _cut(connection: socket.socket) -> None:
    """A close alone would wait for another thread that reads."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536 if limit is None else min(65536, limit - passed)):
            sink.sendall(chunk)
            passed += len(chunk)
            if passed == limit:
                return
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def cutting(port: int, *cuts: int | None) -> Iterator[CuttingRelay]:
    """A relay to a local port: connections are cut after so many bytes (None: not), all others at the block's end."""
    with listening() as listener:
        relay = CuttingRelay(listener, port, cuts)
        thread = threading.Thread(target=relay.run, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.close()
            thread.join()
