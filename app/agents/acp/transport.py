"""What an agent has said in its turn and nobody has taken yet; bounded, so that one that floods is slowed down."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from acp import RequestError

MAX_QUEUED_BYTES = 4 * 1024 * 1024
LEAST_BYTES = 4096
"""What a small update counts, since as an object it is much larger than its line."""


class UpdateQueue:
    """One producer, one consumer."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[tuple[Any, int] | None]()
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, update: Any, size: int) -> None:
        """Hand in an update that came in `size` bytes, waiting for room."""
        await self._room.wait()
        self.add(update, max(size, LEAST_BYTES))

    def add(self, update: Any, size: int = LEAST_BYTES) -> None:
        """Hand in what does not wait for room."""
        self._size += size
        if self._size >= MAX_QUEUED_BYTES:
            self._room.clear()
        self._queue.put_nowait((update, size))

    def finish(self) -> None:
        """Say that no update will follow."""
        self._queue.put_nowait(None)

    def abandon(self) -> None:
        """Say that none will be taken any more, so that nobody waits for room."""
        self._room.set()

    async def get(self) -> Any | None:
        """The next update; None once the producer has finished."""
        if (entry := await self._queue.get()) is None:
            return None
        update, size = entry
        self._size -= size
        if self._size < MAX_QUEUED_BYTES:
            self._room.set()
        return update


MAX_LINE = 32 * 1024 * 1024
MAX_REQUESTS = 256
MAX_OPEN = 2 * MAX_LINE
"""Bytes of the requests that are not answered yet."""
MAX_BULKY = 4
"""Requests with large answers at once; they need no more of the agent than to read, so that the next may wait."""
MAX_COMPLAINTS = 10
_BULKY = {"fs/read_text_file", "terminal/output"}
_SHOWN = 200

OnUpdate = Callable[[Any, int], Awaitable[None]]
"""Takes the parameters of a session/update and how many bytes it came in."""


class _Open(NamedTuple):
    """A request that is not answered yet: its bytes, and whether its answer may have many."""

    size: int
    bulky: bool


class LineTransport:
    """A transport for the SDK that reads no faster than the agent's updates are taken.

    The SDK gives each message a task of its own, which bounds nothing, and would keep updates in no order once one of
    them has to wait. So they go to `hear` here, one after another, and the next line is read when it has returned.
    `ended` is set once it has ended; `failure` says why it was given up, if it was, in words fit for a client.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: OnUpdate, tell: Callable[[str], None]
    ) -> None:
        self.ended = False
        self.failure: str | None = None
        self._reader = reader
        self._writer = writer
        self._hear = hear
        self._tell = tell
        self._requests: dict[Any, _Open] = {}
        self._room = asyncio.Semaphore(MAX_BULKY)
        self._complaints = 0

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message and wait until the agent keeps up; an answer to one that has gone is no error."""
        line = msgspec.json.encode(message) + b"\n"
        if "method" in message:
            await self._write(line)
            return
        with suppress(ConnectionError):
            await self._write(line)
        if self._requests.pop(message["id"]).bulky:
            self._room.release()

    async def receive(self) -> dict[str, Any] | None:
        """The next request or answer; None once the agent has closed the line or sent what cannot be read."""
        await asyncio.sleep(0)  # the message before is taken up first
        while line := await self._line():
            message = _decoded(line)
            if message is None:
                self._log_stderr(line)
            elif message.get("method") is None:
                return message
            elif "id" not in message:
                if message["method"] == "session/update":
                    await self._hear(message.get("params"), len(line))
            elif await self._admits(message, len(line)):
                return message
            await asyncio.sleep(0)  # an agent that never pauses must not hold the loop
        self.ended = True
        return None

    async def close(self) -> None:
        """Nothing: the line ends with the agent's process."""

    def _log_stderr(self, line: bytes) -> None:
        shown = line.strip()[:_SHOWN].decode("utf-8", "replace")
        if shown and self._complaints < MAX_COMPLAINTS:
            self._complaints += 1
            self._tell(f"said what is not of the protocol: {shown}")

    async def _admits(self, request: dict[str, Any], size: int) -> bool:
        waiting = self._requests
        held = sum(each.size for each in waiting.values())
        if request["id"] in waiting or len(waiting) >= MAX_REQUESTS or held + size > MAX_OPEN:
            error = RequestError(-32000, "Too many requests at once").to_error_obj()
            await self._write(msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "error": error}) + b"\n")
            return False
        waiting[request["id"]] = _Open(size, bulky=request["method"] in _BULKY)
        if waiting[request["id"]].bulky:
            await self._room.acquire()
        if isinstance(params := request.get("params"), dict):
            params.pop("_meta", None)  # the SDK would let it take the place of the parameters themselves
        return True

    async def _write(self, line: bytes) -> None:
        try:
            self._writer.write(line)
        except RuntimeError as error:  # what uvloop says of a pipe that it has closed
            raise ConnectionResetError from error
        await self._writer.drain()

    async def _line(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size <= MAX_LINE:
            try:
                return b"".join([*parts, await self._reader.readuntil(b"\n")])
            except asyncio.LimitOverrunError as more:
                parts.append(await self._reader.readexactly(more.consumed))
                size += more.consumed
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
        self.failure = "The agent sent a message that is too large."
        return b""


def _decoded(line: bytes) -> dict[str, Any] | None:
    """A message that the SDK can handle."""
    try:
        message = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return None
    well_formed = (
        isinstance(message, dict)
        and isinstance(message.get("id"), int | str | None)
        and isinstance(message.get("method"), str | None)
        and isinstance(message.get("error"), dict | None)
    )
    return message if well_formed else None
