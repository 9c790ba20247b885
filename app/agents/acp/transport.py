"""JSON-RPC over the agent's standard streams, one message to a line, read no faster than the turn takes its updates.

    agent ── line ──▶ LineTransport ── session/update ──▶ on_update ──▶ UpdateQueue ──▶ the turn
                            └───────── request, response ──▶ the SDK's connection

The SDK makes a task of every message that it receives. That bounds nothing, and loses the order of updates once one of
them has to wait. So `LineTransport` does not pass updates to the SDK: it hands them to `on_update` one after another
and reads the next line when that has returned. If the turn does not keep up, the queue fills, reading stops, and the
agent blocks on its full pipe.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from acp import RequestError

from app.agents.acp.messages import InvalidRequest, read_message, values
from app.agents.acp.tolerance import read_permission_params, read_prompt_result, read_session_result
from app.agui.lenient import UNREADABLE
from app.agui.whole_text import make_whole

MAX_LINE = 32 * 1024 * 1024
MAX_PENDING = 256  # requests of the agent without a response
MAX_PENDING_BYTES = 2 * MAX_LINE
MAX_LARGE_RESPONSES = 4  # at once; the agent only has to read them, so the next request may wait
MAX_LOGGED_LINES = 10
_LARGE_RESPONSES = {"fs/read_text_file", "terminal/output"}
_LOGGED_BYTES = 200
_TOO_MANY_REQUESTS = RequestError(-32000, "Too many requests at once").to_error_obj()
_INVALID_REQUEST = RequestError(-32600, "The request cannot be read").to_error_obj()
_UNWRITABLE = RequestError(-32603, "The response cannot be written").to_error_obj()
_READERS: dict[str, Callable[[Any], Any]] = {
    "session/prompt": read_prompt_result,
    "session/new": read_session_result,
    "session/load": read_session_result,
    "session/resume": read_session_result,
}


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
        self._unread: deque[Any] = deque()
        """The values of the last line that have not been looked at."""
        self._line = b""
        self._sent_ids: dict[str, Any] = {}
        """The ids of our requests without a response, by their texts: some agents respond with a text."""
        self._pending: dict[Any, _PendingRequest] = {}
        self._readers: dict[Any, Callable[[Any], Any]] = {}
        """The readers of the results of our requests without a response, by their ids."""
        self._large_responses = asyncio.Semaphore(MAX_LARGE_RESPONSES)
        self._logged_lines = 0

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message and wait until the agent keeps up; a response to an agent that has gone is dropped."""
        if "method" in message:
            if "id" in message:
                self._sent_ids[str(message["id"])] = message["id"]
            if read := _READERS.get(message["method"]):
                self._readers[message["id"]] = read
            await self._write(message)
            return
        with suppress(ConnectionError):
            try:
                await self._write(message)
            except (TypeError, *UNREADABLE):  # an error may hold values that are no JSON
                await self._write({"jsonrpc": "2.0", "id": message["id"], "error": _UNWRITABLE})
        if self._pending.pop(message["id"]).large_response:
            self._large_responses.release()

    async def receive(self) -> dict[str, Any] | None:
        """Return the next request or response; None once the agent has closed the stream or sent too long a line."""
        await asyncio.sleep(0)  # the SDK first starts the task of the message before
        while await self._has_unread():
            if (message := await self._take(self._unread.popleft(), len(self._line))) is not None:
                return message
            await asyncio.sleep(0)  # an agent that never pauses must not hold the loop
        self.ended = True
        return None

    async def _has_unread(self) -> bool:
        """Read lines until one has a value; return False at the end."""
        while not self._unread and (line := await self._read_line()):
            self._line = line
            self._unread.extend(values(line))
            if not self._unread:
                self._log_invalid(line)
                await asyncio.sleep(0)
        return bool(self._unread)

    async def _take(self, value: Any, size: int) -> dict[str, Any] | None:
        """Return a message for the SDK's connection; None if it is not one, or done with."""
        try:
            message = read_message(value)
        except InvalidRequest as invalid:
            message = None
            await self._refuse(invalid.request_id, _INVALID_REQUEST)
        if message is None:
            self._log_invalid(self._line)
        elif message.get("method") is None:
            if message.get("id") is not None:
                return self._read_response(make_whole(message))
            self._log_line(f"could not read a message: {message['error'].get('message')}")
        elif message["method"] == "session/update":
            await self._on_update(message.get("params"), size)
            if "id" in message:  # a request, which the protocol does not know
                await self._respond(message["id"], result=None)
        elif "id" in message and await self._admit(message, size):
            whole: dict[str, Any] = make_whole(message)
            return whole
        return None

    async def close(self) -> None:
        """Do nothing: the streams end with the agent's process."""

    def _read_response(self, response: dict[str, Any]) -> dict[str, Any]:
        response = {**response, "id": self._sent_ids.pop(str(response["id"]), response["id"])}
        read = self._readers.pop(response["id"], None)
        if read and response.get("error") is None:
            return {**response, "result": read(response.get("result"))}
        return response

    async def _admit(self, request: dict[str, Any], size: int) -> bool:
        """Register a request, once there is room for its response; refuse it and return False if too many wait."""
        request_id = request["id"]
        pending_bytes = sum(pending.size for pending in self._pending.values())
        if request_id in self._pending or len(self._pending) >= MAX_PENDING or pending_bytes + size > MAX_PENDING_BYTES:
            await self._refuse(request_id, _TOO_MANY_REQUESTS)
            return False
        large_response = request["method"] in _LARGE_RESPONSES
        self._pending[request_id] = _PendingRequest(size, large_response)
        if large_response:
            await self._large_responses.acquire()
        if request["method"] == "session/request_permission":
            request["params"] = read_permission_params(request.get("params"))
        if isinstance(params := request.get("params"), dict):
            params.pop("_meta", None)  # the SDK would let its members replace the parameters themselves
        return True

    async def _refuse(self, request_id: int | str, error: dict[str, Any]) -> None:
        await self._respond(request_id, error=error)

    async def _respond(self, request_id: int | str, **outcome: Any) -> None:
        with suppress(ConnectionError):
            await self._write({"jsonrpc": "2.0", "id": request_id, **outcome})

    async def _write(self, message: dict[str, Any]) -> None:
        line = msgspec.json.encode(message) + b"\n"
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
        if shown:
            self._log_line(f"wrote a line that is not a JSON-RPC message: {shown}")

    def _log_line(self, line: str) -> None:
        if self._logged_lines < MAX_LOGGED_LINES:
            self._logged_lines += 1
            self._log(line)
