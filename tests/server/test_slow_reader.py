"""A client that opens a stream and does not read it."""

import contextlib
import re
import socket

import pytest
import requests

from app.models.caller import Role
from app.server import streaming
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
