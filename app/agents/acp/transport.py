"""JSON-RPC over the agent's standard streams, one message to a line, read no faster than the turn takes its updates.

    agent ── line ──▶ LineTransport ── session/update ──▶ on_update ──▶ UpdateQueue ──▶ the turn
                            └───────── request, response ──▶ the SDK's connection

The SDK makes a task of every message that it receives. That bounds nothing, and loses the order of updates once one of
them has to wait. So `LineTransport` does not pass updates to the SDK: it hands them to `on_update` one after another
and reads the next line when that has returned. If the turn does not keep up, the queue fills, reading stops, and the
agent blocks on its full pipe.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from acp import RequestError

MAX_LINE = 32 * 1024 * 1024
MAX_PENDING = 256  # requests of the agent without a response
MAX_PENDING_BYTES = 2 * MAX_LINE
MAX_LARGE_RESPONSES = 4  # at once; the agent only has to read them, so the next request may wait
MAX_LOGGED_LINES = 10
MAX_QUEUED_BYTES = 4 * 1024 * 1024
MIN_UPDATE_BYTES = 4096  # counted for a small update, which takes more memory as an object than its line has bytes
_LARGE_RESPONSES = {"fs/read_text_file", "terminal/output"}
_LOGGED_BYTES = 200
_TOO_MANY_REQUESTS = RequestError(-32000, "Too many requests at once").to_error_obj()


class _PendingRequest(NamedTuple):
    size: int
    large_response: bool


class LineTransport:
    """A `Transport` for the SDK's connection.

    `on_update` gets the parameters of each session/update and the bytes that it came in; `log` gets a line for each of
    the first lines that are no message.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_update: Callable[[Any, int], Awaitable[None]],
        log: Callable[[str], None],
    ) -> None:
        self.ended = False
        """Whether nothing more will be received."""
        self.failure: str | None = None
        """Why reading was given up, as a sentence for clients; None if the agent closed the stream."""
        self._reader = reader
        self._writer = writer
        self._on_update = on_update
        self._log = log
        self._pending: dict[Any, _PendingRequest] = {}
        self._large_responses = asyncio.Semaphore(MAX_LARGE_RESPONSES)
        self._logged_lines = 0

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message and wait until the agent keeps up; a response to an agent that has gone is dropped."""
        line = msgspec.json.encode(message) + b"\n"
        if "method" in message:
            await self._write(line)
            return
        with suppress(ConnectionError):
            await self._write(line)
        if self._pending.pop(message["id"]).large_response:
            self._large_responses.release()

    async def receive(self) -> dict[str, Any] | None:
        """Return the next request or response; None once the agent has closed the stream or sent too long a line."""
        await asyncio.sleep(0)  # the SDK first starts the task of the message before
        while line := await self._read_line():
            message = _decode(line)
            if message is None:
                self._log_invalid(line)
            elif message.get("method") is None:
                return message
            elif "id" not in message:
                if message["method"] == "session/update":
                    await self._on_update(message.get("params"), len(line))
            elif await self._admit(message, len(line)):
                return message
            await asyncio.sleep(0)  # an agent that never pauses must not hold the loop
        self.ended = True
        return None

    async def close(self) -> None:
        """Do nothing: the streams end with the agent's process."""

    async def _admit(self, request: dict[str, Any], size: int) -> bool:
        """Register a request, once there is room for its response; refuse it and return False if too many wait."""
        request_id = request["id"]
        pending_bytes = sum(pending.size for pending in self._pending.values())
        if request_id in self._pending or len(self._pending) >= MAX_PENDING or pending_bytes + size > MAX_PENDING_BYTES:
            refusal = {"jsonrpc": "2.0", "id": request_id, "error": _TOO_MANY_REQUESTS}
            await self._write(msgspec.json.encode(refusal) + b"\n")
            return False
        large_response = request["method"] in _LARGE_RESPONSES
        self._pending[request_id] = _PendingRequest(size, large_response)
        if large_response:
            await self._large_responses.acquire()
        if isinstance(params := request.get("params"), dict):
            params.pop("_meta", None)  # the SDK would let its members replace the parameters themselves
        return True

    async def _write(self, line: bytes) -> None:
        try:
            self._writer.write(line)
        except RuntimeError as error:  # what uvloop raises for a pipe that it has closed
            raise ConnectionResetError from error
        await self._writer.drain()

    async def _read_line(self) -> bytes:
        """Return the next line, however long within MAX_LINE; empty at the end of the stream or after a failure."""
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

    def _log_invalid(self, line: bytes) -> None:
        shown = line.strip()[:_LOGGED_BYTES].decode("utf-8", "replace")
        if shown and self._logged_lines < MAX_LOGGED_LINES:
            self._logged_lines += 1
            self._log(f"wrote a line that is not a JSON-RPC message: {shown}")


def _decode(line: bytes) -> dict[str, Any] | None:
    """Return a message that the SDK can handle; None for any other line."""
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


class UpdateQueue:
    """The updates of a turn that the turn has not taken yet, bounded by bytes; one producer and one consumer."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[tuple[Any, int] | None]()
        self._size = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def put(self, update: Any, size: int) -> None:
        """Add an update that came in `size` bytes; wait for room before."""
        await self._has_room.wait()
        self.put_nowait(update, max(size, MIN_UPDATE_BYTES))

    def put_nowait(self, update: Any, size: int = MIN_UPDATE_BYTES) -> None:
        """Add an update even if there is no room."""
        self._size += size
        if self._size >= MAX_QUEUED_BYTES:
            self._has_room.clear()
        self._queue.put_nowait((update, size))

    def finish(self) -> None:
        """Mark the end of the updates."""
        self._queue.put_nowait(None)

    def abandon(self) -> None:
        """Let a producer that waits for room go on: nothing is taken any more."""
        self._has_room.set()

    async def get(self) -> Any | None:
        """Return the next update; None at the end."""
        if (entry := await self._queue.get()) is None:
            return None
        update, size = entry
        self._size -= size
        if self._size < MAX_QUEUED_BYTES:
            self._has_room.set()
        return update
