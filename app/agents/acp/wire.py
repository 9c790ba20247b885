"""The line to an agent: its messages for the SDK's connection, its updates for the turn, everything bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from acp import RequestError

MAX_LINE = 32 * 1024 * 1024
MAX_REQUESTS = 256
MAX_OPEN = 2 * MAX_LINE
"""Bytes of the requests that are not answered yet."""
MAX_COMPLAINTS = 10
_SHOWN = 200

Hear = Callable[[Any, int], Awaitable[None]]
"""Takes the parameters of a session/update and how many bytes it came in."""


class Wire:
    """A transport for the SDK that reads no faster than the agent's updates are taken.

    The SDK gives each message a task of its own, which bounds nothing, and would keep updates in no order once one of
    them has to wait. So they go to `hear` here, one after another, and the next line is read when it has returned.
    `failure` says why the line was given up, in words fit for a client.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Hear, tell: Callable[[str], None]
    ) -> None:
        self.failure: str | None = None
        self._reader = reader
        self._writer = writer
        self._hear = hear
        self._tell = tell
        self._requests: dict[Any, int] = {}
        self._complaints = 0

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message and wait until the agent keeps up; an answer to one that has gone is no error."""
        line = msgspec.json.encode(message) + b"\n"
        if "method" in message:
            await self._write(line)
            return
        self._requests.pop(message.get("id"), None)
        with suppress(ConnectionError):
            await self._write(line)

    async def receive(self) -> dict[str, Any] | None:
        """The next request or answer; None once the agent has closed the line or sent what cannot be read."""
        await asyncio.sleep(0)  # the message before is taken up first
        while line := await self._line():
            message = _decoded(line)
            if message is None:
                self._complain(line)
            elif message.get("method") is None:
                return message
            elif "id" not in message:
                if message["method"] == "session/update":
                    await self._hear(message.get("params"), len(line))
            elif await self._admits(message, len(line)):
                return message
            await asyncio.sleep(0)  # an agent that never pauses must not hold the loop
        return None

    async def close(self) -> None:
        """Nothing: the line ends with the agent's process."""

    def _complain(self, line: bytes) -> None:
        shown = line.strip()[:_SHOWN].decode("utf-8", "replace")
        if shown and self._complaints < MAX_COMPLAINTS:
            self._complaints += 1
            self._tell(f"said what is not of the protocol: {shown}")

    async def _admits(self, request: dict[str, Any], size: int) -> bool:
        open_ = self._requests
        if request["id"] in open_ or len(open_) >= MAX_REQUESTS or sum(open_.values()) + size > MAX_OPEN:
            error = RequestError(-32000, "Too many requests at once").to_error_obj()
            await self._write(msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "error": error}) + b"\n")
            return False
        open_[request["id"]] = size
        if isinstance(params := request.get("params"), dict):
            params.pop("_meta", None)  # the SDK would let it take the place of the parameters themselves
        return True

    async def _write(self, line: bytes) -> None:
        self._writer.write(line)
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
