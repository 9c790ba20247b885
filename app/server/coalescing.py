"""Writes of one event-loop iteration, sent together."""

import asyncio
from typing import Any

_HELD_BYTES = 65_536


class CoalescingTransport:
    """A transport that sends what is written in one round of the loop at the end of it, with one system call.

    Head and body of an answer leave in one packet. And the answers of one round leave right after one another: whoever
    reads them is woken once, not for each of them. What is large does not wait, so that pauses of a full buffer work.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send this, soon."""
        if not data:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        held, self._pending = self._pending, []
        if held and not self._transport.is_closing():
            # Up to that size one buffer is cheaper than several.
            self._transport.writelines(held if self._size > _HELD_BYTES else [b"".join(held)])
        self._size = 0

    def close(self) -> None:
        """Close once all is sent."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Send no more."""
        self._flush()
        self._transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
