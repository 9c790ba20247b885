"""A platform of canned bytes, much faster than a server before it: `python -m tests.bench.stub PORT NAME=FILE…`.

All sessions but one are running; those that are named have the export in the file. A list with an offset is different
each time. Of a request only the first line and the length of the body are read.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from tests.bench.resources import RUN, accepted, encoded, page, resource
from tests.support.server import LOCALHOST

PROJECT = "p1"
FURTHER = 40
STOPPED = "stopped"
RUNNER_TYPES = [{"id": "claude-agent-sdk", "displayName": "Claude Agent SDK", "provider": "anthropic"}]
MODELS = {"models": [{"id": "sonnet", "label": "Sonnet", "provider": "anthropic"}], "defaultModel": "sonnet"}
POD_EVENTS = {
    "events": [
        {
            "type": "Normal",
            "reason": "Pulled",
            "message": "Container image is present",
            "timestamp": "2026-03-09T12:00:00Z",
        }
    ]
    * 20
}
_HEAD = re.compile(rb"(\w+) (\S+?)(?:\?(\S*))? HTTP/1\.1\r\n", re.ASCII)
_FURTHER = re.compile(rb"(?:^|&)offset=[1-9]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SESSIONS = f"/api/projects/{PROJECT}/agentic-sessions".encode()


Response = tuple[bytes, bytes]


def responses(exports: dict[str, bytes]) -> dict[tuple[bytes, bytes], Response]:
    """Return head and body by method and path."""
    found = {(b"GET", b"/health"): b"{}", (b"GET", _SESSIONS): encoded(page())}
    found[b"GET", f"/api/projects/{PROJECT}/runner-types".encode()] = encoded(RUNNER_TYPES)
    found[b"GET", f"/api/projects/{PROJECT}/models".encode()] = encoded(MODELS)
    found[b"POST", _SESSIONS] = encoded({"message": "Created", "name": "s1", "uid": RUN})
    for name in ("s1", STOPPED, *exports):
        session = b"%b/%b" % (_SESSIONS, name.encode())
        session_body = encoded(resource(name, "Stopped" if name == STOPPED else "Running"))
        found |= {(method, session): session_body for method in (b"GET", b"PUT", b"PATCH")}
        found |= {(b"POST", session + action): session_body for action in (b"/start", b"/stop", b"/agui/interrupt")}
        found[b"PUT", session + b"/displayname"] = session_body
        found[b"POST", session + b"/agui/run"] = encoded(accepted())
        if name in exports:
            found[b"GET", session + b"/export"] = exports[name]
    ready = {key: _ok(body) for key, body in found.items()}
    for method, session in list(found):
        if method == b"PATCH":
            ready[b"DELETE", session] = _head(204, b""), b""
            ready[b"GET", session + b"/pod-events"] = _ok(encoded(POD_EVENTS))
    return ready


def further() -> Iterator[Response]:
    """Return an endless iterator of lists of a hundred sessions, which repeat after 4,000 sessions."""
    return cycle([_ok(encoded(page(number))) for number in range(FURTHER)])


def _ok(body: bytes) -> Response:
    return _head(200, body), body


def _head(status: int, body: bytes) -> bytes:
    head = b"HTTP/1.1 %d Canned\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body))


_NOT_FOUND_BODY = b'{"error":"Session not found"}'
_NOT_FOUND = _head(404, _NOT_FOUND_BODY), _NOT_FOUND_BODY


class Canned(asyncio.Protocol):
    """A connection; responses are sent in the order of the requests."""

    def __init__(self, responses: dict[tuple[bytes, bytes], Response], further: Iterator[Response]) -> None:
        self._responses = responses
        self._further = further
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not derive from it

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < size:
                return
            line = _HEAD.match(self._received)
            response = self._responses.get((line[1], line[2]), _NOT_FOUND) if line else _NOT_FOUND
            further = line and _FURTHER.search(line[3] or b"")
            self._transport.writelines(next(self._further) if further else response)
            self._received = self._received[size:]


async def main(port: int, exports: dict[str, bytes]) -> None:
    """Serve until killed."""
    canned, lists = responses(exports), further()
    server = await asyncio.get_running_loop().create_server(lambda: Canned(canned, lists), LOCALHOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    named = dict(argument.split("=", 1) for argument in sys.argv[2:])
    uvloop.run(main(int(sys.argv[1]), {name: Path(file).read_bytes() for name, file in named.items()}))
