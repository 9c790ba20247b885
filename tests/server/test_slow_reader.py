"""A client that opens a stream and does not read it, and the watch over readers of anything else."""

import asyncio
import contextlib
import re
import socket

import pytest
import requests

from app.models.caller import Role
from app.server import slow_reader, streaming
from app.server.slow_reader import ReaderWatch
from tests.support.deadline import eventually
from tests.support.stage import PlatformStage

EVENTS, SIZE = 200, 200_000
ENDED = re.compile(r'^http_requests_total\{.*operation="stream_session_events".*\} ([0-9.]+)', re.MULTILINE)


def ended(url: str) -> float:
    """How many streams of the server have ended."""
    return sum(map(float, ENDED.findall(requests.get(f"{url}/metrics", timeout=10).text)))


def test_a_reader_that_does_not_read_is_disconnected(ambient: PlatformStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.2)
    before = ended(ambient.url)
    host, _, port = ambient.url.removeprefix("http://").partition(":")
    with ambient.api() as api, socket.socket() as reader:
        session_id = ambient.session(api, "running")
        ambient.platform.runner.append(session_id, *[{"type": "CUSTOM", "value": "x" * SIZE}] * EVENTS)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        reader.sendall(
            f"GET /v1/sessions/{session_id}/events HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {ambient.token(str(api.project), Role.ADMIN)}\r\n"
            f"X-Ambient-Project: {api.project}\r\n\r\n".encode()
        )
        eventually(lambda: ended(ambient.url), lambda count: count > before)
        received = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while chunk := reader.recv(1 << 20):
                received += chunk
    assert received.startswith(b"HTTP/1.1 200")
    assert len(received) < EVENTS * SIZE
    assert not received.endswith(b"0\r\n\r\n")


class Buffer(asyncio.WriteTransport):
    """A transport of which these numbers of bytes are buffered, one look after the other."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def get_write_buffer_size(self) -> int:
        return self.sizes.pop(0)


async def test_a_reader_is_given_up_once_it_reads_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_reader, "READ_SECONDS", 0.001)
    stalled, transport = asyncio.Event(), Buffer(100, 99, 98, 98)
    watch = ReaderWatch(transport, asyncio.get_running_loop(), stalled.set)
    watch.start()
    await stalled.wait()
    assert transport.sizes == []


async def test_a_reader_is_not_watched_any_more_once_it_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_reader, "READ_SECONDS", 0.0)
    stalled = asyncio.Event()
    watch = ReaderWatch(Buffer(100), asyncio.get_running_loop(), stalled.set)
    watch.start()
    watch.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not stalled.is_set()
