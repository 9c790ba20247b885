"""Our ends of pipes: who closes them."""

import asyncio
import errno
import io
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from app.sandbox import streams
from tests.support.processes import open_pipes

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


@LOOPS
@pytest.mark.parametrize("steps", range(8))
def test_no_pipe_is_left_by_whoever_gives_up_while_they_are_opened(
    make_loop: Callable[[], asyncio.AbstractEventLoop], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[str] = set()
    pipe = os.pipe

    def recorded() -> tuple[int, int]:
        ends = pipe()
        if threading.current_thread() is threading.main_thread():
            made.add(f"pipe:[{os.fstat(ends[0]).st_ino}]")
        return ends

    async def give_up() -> None:
        opening = asyncio.create_task(streams.open_pipes(1024))
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        [result] = await asyncio.gather(opening, return_exceptions=True)
        if not isinstance(result, BaseException):
            for each in result:
                each.close()
        await asyncio.sleep(0)

    monkeypatch.setattr(os, "pipe", recorded)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(give_up())
    assert made.isdisjoint(open_pipes())
    assert made or not steps
