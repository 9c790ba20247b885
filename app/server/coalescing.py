"""Coalesced writes: all that is written during one iteration of the event loop goes out together."""

import asyncio
from typing import Any

_BUFFER_BYTES = 65_536


class CoalescingTransport:
    """A transport that buffers writes until the end of the event loop's iteration and sends them with one system call.

    Head and body of a response leave in one packet. The responses of one iteration leave right after one another, so
    that a client or proxy that reads them is woken once. Large writes are not delayed: flow control needs to see them.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send data at the end of this iteration, or now if there is much of it."""
        if not data:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self._transport.is_closing():
            # Up to this size one buffer is cheaper than several.
            self._transport.writelines(pending if self._size > _BUFFER_BYTES else [b"".join(pending)])
        self._size = 0

    def close(self) -> None:
        """Close the transport once everything is sent."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Close the sending side once everything is sent."""
        self._flush()
        self._transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
