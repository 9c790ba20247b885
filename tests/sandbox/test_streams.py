"""Our ends of pipes: who closes them."""

import asyncio
import errno
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from app.sandbox import streams

LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


class Probe(io.FileIO):
    """A file that shows whether its closing closes what somebody else has opened just before."""

    others: list[int]

    def close(self) -> None:
        self.others = [os.dup(0), os.dup(0)]
        super().close()


@LOOPS
@pytest.mark.parametrize("end", ["reader", "writer"])
def test_a_pipe_is_closed_once(
    make_loop: Callable[[], asyncio.AbstractEventLoop], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[Probe] = []

    def open_probe(descriptor: int, mode: str, _buffering: int, *, closefd: bool = True) -> Probe:
        probes.append(Probe(descriptor, mode, closefd))
        return probes[-1]

    monkeypatch.setattr(os, "fdopen", open_probe)

    async def connect(descriptor: int) -> Any:
        if end == "writer":
            return await streams.connect_writer(descriptor)
        return await streams.connect_reader(descriptor, asyncio.StreamReaderProtocol(asyncio.StreamReader()))

    async def close_end() -> None:
        pipe = os.pipe()
        ours, theirs = pipe if end == "reader" else pipe[::-1]
        connected = await connect(ours)
        connected.close()
        while not probes[0].closed:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        for other in probes[0].others:
            os.close(other)  # OSError if it has been closed
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(ours)
        os.close(theirs)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(close_end())
