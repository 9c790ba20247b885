"""Child processes on the server's event loop."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from subprocess import PIPE, Popen
from typing import Any

import pytest

from app.sandbox.children import Child, kill_group, start_leader
from tests.support.server import Background


@pytest.fixture(params=["here", "uvloop"])
def run(request: pytest.FixtureRequest, loop: Background) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on asyncio's own event loop, and on the server's."""
    return asyncio.run if request.param == "here" else loop.run


@pytest.fixture(params=["pidfd", "thread"], autouse=True)
def watched_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "thread":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


async def start(script: str) -> Child:
    return await start_leader("/bin/sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE)


def test_a_command_reads_writes_and_exits(run: Callable[..., Any]) -> None:
    async def talk() -> None:
        child = await start("cat; echo no >&2; exit 3")
        data = b"x" * 1_000_000
        assert await child.communicate(data) == (data, b"no\n")
        assert await child.wait() == child.returncode == 3

    run(talk())


def test_a_command_that_does_not_read_its_input_is_no_error(run: Callable[..., Any]) -> None:
    async def talk() -> None:
        assert await (await start("exec <&-; echo done")).communicate(b"x" * 1_000_000) == (b"done\n", b"")

    run(talk())


def test_the_exit_is_seen_while_something_else_holds_the_pipes(run: Callable[..., Any]) -> None:
    async def talk() -> None:
        child = await start("sleep 600 & exit 4")
        assert await child.wait() == 4
        os.killpg(child.pid, 9)
        await kill_group(child)

    run(talk())


def test_a_group_is_killed_as_a_whole(run: Callable[..., Any]) -> None:
    reading, writing = os.pipe()

    async def kill() -> None:
        child = await start_leader("/bin/sh", "-c", "sleep 600 & echo started; wait", stdout=writing)
        os.close(writing)
        assert os.read(reading, 100) == b"started\n"
        await kill_group(child)
        assert child.returncode == -9

    run(kill())
    assert os.read(reading, 100) == b""  # once nobody can write any more
    os.close(reading)


def test_a_program_that_is_not_there_is_an_error(run: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError):
        run(start_leader("/nowhere/at-all"))


def test_a_program_whose_pipes_cannot_be_opened_is_killed(run: Callable[..., Any]) -> None:
    children: list[Child] = []

    async def fail(child: Child, _pipe: object) -> None:
        children.append(child)
        raise OSError("Too many open files")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "_read", fail)
        with pytest.raises(OSError, match="Too many"):
            run(start_leader("/bin/sleep", "600"))
    assert children[0].returncode == -9


def test_a_start_that_is_cancelled_leaves_no_process(run: Callable[..., Any]) -> None:
    async def give_up() -> None:
        children: list[Child] = []

        class Seen(Child):
            def __init__(self, process: Popen[bytes]) -> None:
                super().__init__(process)
                children.append(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.sandbox.children.Child", Seen)
            starting = asyncio.create_task(start("sleep 600"))
            await asyncio.sleep(0)  # until it waits for the first time
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
        assert children[0].returncode == -9

    run(give_up())
