"""A platform of canned bytes, far quicker than what stands before it: `python -m tests.bench.stub PORT NAME=FILE…`.

Sessions are there and run but for one; those that are named have the export in the file. A list from an offset on is
another one each time. It reads nothing but a request's first line and the length of its body.
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
LINES = b"the runner says something\n" * 20
_HEAD = re.compile(rb"(\w+) (\S+?)(?:\?(\S*))? HTTP/1\.1\r\n", re.ASCII)
_FURTHER = re.compile(rb"(?:^|&)offset=[1-9]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SESSIONS = f"/api/projects/{PROJECT}/agentic-sessions".encode()


Answer = tuple[bytes, bytes]


def answers(exports: dict[str, bytes]) -> dict[tuple[bytes, bytes], Answer]:
    """Head and body by method and path."""
    found = {(b"GET", b"/health"): b"{}", (b"GET", _SESSIONS): encoded(page())}
    found[b"POST", _SESSIONS] = encoded({"message": "Created", "name": "s1", "uid": RUN})
    for name in ("s1", STOPPED, *exports):
        session = b"%b/%b" % (_SESSIONS, name.encode())
        told = encoded(resource(name, "Stopped" if name == STOPPED else "Running"))
        found |= {(method, session): told for method in (b"GET", b"PUT", b"PATCH")}
        found |= {(b"POST", session + action): told for action in (b"/start", b"/stop", b"/agui/interrupt")}
        found[b"PUT", session + b"/displayname"] = told
        found[b"POST", session + b"/agui/run"] = encoded(accepted())
        if name in exports:
            found[b"GET", session + b"/export"] = exports[name]
    good = {key: _good(body) for key, body in found.items()}
    for method, session in list(found):
        if method == b"PATCH":
            good[b"DELETE", session] = _head(204, b""), b""
            good[b"GET", session + b"/logs"] = _head(200, LINES, b"text/plain"), LINES
    return good


def further() -> Iterator[Answer]:
    """Lists of a hundred sessions, of which nobody has been told before, or not for 4,000 others."""
    return cycle([_good(encoded(page(number))) for number in range(FURTHER)])


def _good(body: bytes) -> Answer:
    return _head(200, body), body


def _head(status: int, body: bytes, media_type: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %d Canned\r\nContent-Type: %b; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
    return head % (status, media_type, len(body))


_NOTHING = b'{"error":"Session not found"}'
_NOT_FOUND = _head(404, _NOTHING), _NOTHING


class Canned(asyncio.Protocol):
    """One connection; answers in the order of the requests."""

    def __init__(self, answers: dict[tuple[bytes, bytes], Answer], further: Iterator[Answer]) -> None:
        self._answers = answers
        self._further = further
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to."""
        self._transport = cast(asyncio.Transport, transport)  # which uvloop's is in all but name

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._unread, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._unread) < size:
                return
            line = _HEAD.match(self._unread)
            answer = self._answers.get((line[1], line[2]), _NOT_FOUND) if line else _NOT_FOUND
            further = line and _FURTHER.search(line[3] or b"")
            self._transport.writelines(next(self._further) if further else answer)
            self._unread = self._unread[size:]


async def main(port: int, exports: dict[str, bytes]) -> None:
    """Serve until killed."""
    canned, lists = answers(exports), further()
    server = await asyncio.get_running_loop().create_server(lambda: Canned(canned, lists), LOCALHOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    named = dict(argument.split("=", 1) for argument in sys.argv[2:])
    uvloop.run(main(int(sys.argv[1]), {name: Path(file).read_bytes() for name, file in named.items()}))
