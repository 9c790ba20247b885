"""Process trees, in a sandbox and without one: real processes, and nothing of them that outlives its tree."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.sandbox.process_tree import SandboxError
from app.sandbox.sandbox import Sandbox
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.sandboxed import Room, confined, needs_sandbox, room
from tests.support.server import ROOT

DETACH = "setsid sh -c 'trap \"\" TERM; (setsid sleep 600 &) ; exec sleep 601' >/dev/null 2>&1 &"


@pytest.fixture(params=[pytest.param("bwrap", marks=needs_sandbox), "off"])
async def own(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    async with room(confined() if request.param == "bwrap" else Sandbox(None), tmp_path) as own:
        yield own


def running(own: Room) -> list[int]:
    return [*working_in(str(own.workspace)).values()]


async def wait_until_running(own: Room, count: int) -> None:
    async with asyncio.timeout(20):
        while len(running(own)) != count:  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.02)


async def test_a_command_gets_its_words_directory_and_variables(own: Room) -> None:
    assert await own.run("printf", "%s|", "a b", "", "ü$HOME") == "a b||ü$HOME|"
    assert await own.shell("pwd") == str(own.workspace)
    assert await own.run("env", A="1\n2") == f"PATH={os.environ['PATH']}\nHOME={own.home}\nA=1\n2"


async def test_many_large_variables_are_passed_on(own: Room) -> None:
    variables = {f"LARGE{number}": str(number) * 100_000 for number in range(8)}
    assert await own.shell('printf "%s %s" ${#LARGE0} ${#LARGE7}', **variables) == "100000 100000"


@pytest.mark.parametrize(("line", "expected"), [("exit 3", "[3]"), ("kill -SEGV $$", "[-11]"), ("echo x", "x")])
async def test_the_status_is_that_of_the_command(own: Room, line: str, expected: str) -> None:
    assert (await own.shell(line)).strip() == expected


async def test_commands_have_no_files_of_the_server_and_the_signals_of_a_shell(own: Room) -> None:
    program = "import os, signal; print(os.listdir('/proc/self/fd'), signal.getsignal(signal.SIGPIPE))"
    assert await own.run("/usr/bin/env", "-i", sys.executable, "-I", "-c", program) == "['0', '1', '2', '3'] 1"
    masks = (await own.shell("grep -E 'SigBlk|SigIgn' /proc/self/status")).split()[1::2]
    internal = 0b11 << 31  # signals 32 and 33, which the C library keeps to itself
    assert [int(mask, 16) & ~internal for mask in masks] == [0, 0]


@pytest.mark.parametrize("words", [("/nonexistent/program",), ("no-such-program",)])
async def test_a_program_that_does_not_exist_is_an_error(own: Room, words: tuple[str, ...]) -> None:
    with pytest.raises(FileNotFoundError):
        await own.start(*words)
    assert await own.shell("echo still there") == "still there"


async def test_what_no_system_takes_is_an_error(own: Room) -> None:
    with pytest.raises(ValueError, match="NUL"):
        await own.start("echo", "a\0b")
    with pytest.raises(ValueError, match="variable"):
        await own.start("echo", **{"A=B": "c"})
    with pytest.raises(OSError, match="too long"):
        await own.start("echo", "x" * 4_000_000)


async def test_what_a_command_detaches_ends_with_it(own: Room) -> None:
    process, _ = await own.start("/bin/sh", "-c", f"{DETACH} sleep 602")
    other, _ = await own.start("sleep", "603")
    await wait_until_running(own, 5)
    await process.end()
    assert process.returncode == -signal.SIGTERM
    assert other.returncode is None
    await wait_until_running(own, 1)


async def test_a_command_has_exited_even_if_it_leaves_others(own: Room) -> None:
    process, _ = await own.start("/bin/sh", "-c", DETACH)
    assert await process.wait() == 0
    await wait_until_running(own, 2)


async def test_nothing_outlives_its_tree(own: Room) -> None:
    process, _ = await own.start("/bin/sh", "-c", f"{DETACH} trap '' TERM; sleep 600; sleep 600")
    await own.start("/bin/sh", "-c", DETACH)
    await wait_until_running(own, 6)
    await own.tree.close()
    eventually(lambda: not running(own))
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(OSError, match="ended"):
        await own.start("true")


async def test_a_command_that_stops_its_shim_is_ended_with_the_tree(own: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sandbox.process_tree._END_SECONDS", 0.0)
    line = "until test -e started; do sleep 0.01; done; kill -STOP $PPID; echo done; exec sleep 600"
    process, output = await own.start("/bin/sh", "-c", line)
    (own.workspace / "started").touch()
    assert await output.readline() == b"done\n"
    await process.end()
    eventually(lambda: not running(own))
    assert own.tree.ended.is_set()


async def test_a_start_that_is_cancelled_leaves_no_process(own: Room) -> None:
    starting = asyncio.create_task(own.start("sleep", "600"))
    while not own.tree._processes:  # noqa: ASYNC110 - it is under way
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await own.shell("echo next") == "next"
    eventually(lambda: not running(own))


SERVER = """
import asyncio, sys, pathlib
from app.sandbox.sandbox import Sandbox, detect
from tests.support.sandboxed import confined, room
async def main():
    async with room(confined() if sys.argv[1] == "bwrap" else Sandbox(None), pathlib.Path(sys.argv[2])) as own:
        await own.start("/bin/sh", "-c", sys.argv[3] + " sleep 604")
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("choice", [pytest.param("bwrap", marks=needs_sandbox), "off"])
def test_nothing_outlives_a_server_that_is_killed(tmp_path: Path, choice: str) -> None:
    server = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", SERVER, choice, str(tmp_path), DETACH], cwd=ROOT
    )
    try:
        eventually(lambda: len(working_in(str(tmp_path))) == 4)
    finally:
        server.kill()
        server.wait()
    eventually(lambda: not working_in(str(tmp_path)))


async def test_a_tree_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="No such file"):
        async with room(Sandbox("/nonexistent/bwrap"), tmp_path):
            pass
