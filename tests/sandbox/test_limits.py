"""ProcessLimits of a session's processes together: exceeding one ends them all, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.sandbox.sandbox import ProcessLimits
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.sandboxed import Room, confined, needs_sandbox, room

pytestmark = needs_sandbox
MIB = 1024**2
PROCESSES = """
import os, time
for _ in range(900):
    if os.fork() == 0:
        break
time.sleep(600)
"""
THREADS = "import threading\nfor _ in range(1000): threading.Thread(target=threading.Event().wait).start()"
EATERS = {
    "a process": "held = bytearray(300 * 2**20)\nimport time; time.sleep(600)",
    "many processes": """
import os, time
for number in range(6):
    if os.fork() == 0:
        held = os.urandom(1) * (50 * 2**20)
        time.sleep(600)
time.sleep(600)
""",
    "shared memory": "import mmap\nheld = mmap.mmap(-1, 300 * 2**20); held.write(bytes(300 * 2**20))\nwhile 1: pass",
    "an unnamed file": "import os, time\nos.write(os.memfd_create('x'), bytes(300 * 2**20)); time.sleep(600)",
    "segments that nobody has": """
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for _ in range(6):
    segment = libc.shmget(0, 50 * 2**20, 0o1600)
    address = libc.shmat(segment, None, 0)
    ctypes.memset(address, 1, 50 * 2**20)
    libc.shmdt(ctypes.c_void_p(address))
time.sleep(600)
""",
    "two places": """
import time
held = bytearray(150 * 2**20)
for place in ("/tmp", "/dev/shm"):
    open(place + "/x", "wb").write(bytes(75 * 2**20))
time.sleep(600)
""",
}


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Room]:
    async with room(confined(limits=ProcessLimits(memory=200 * MIB, processes=300)), tmp_path) as own:
        yield own


@pytest.mark.parametrize("program", [PROCESSES, THREADS], ids=["processes", "threads"])
async def test_too_many_processes_end_them_all(own: Room, program: str) -> None:
    assert "[-9]" in await asyncio.wait_for(own.python(program), 60)
    assert own.tree.exceeded == "processes"
    eventually(lambda: not working_in(str(own.workspace)))


@pytest.mark.parametrize("eater", EATERS)
async def test_too_much_memory_ends_them_all(own: Room, eater: str) -> None:
    assert "[-9]" in await asyncio.wait_for(own.python(EATERS[eater]), 60)
    assert own.tree.exceeded == "memory"
    eventually(lambda: not working_in(str(own.workspace)))


async def test_memory_that_is_shared_counts_once(own: Room) -> None:
    program = """
import os, time
held = bytearray(os.urandom(1) * (80 * 2**20))
children = [os.fork() for _ in range(3)]
time.sleep(1 if all(children) else 600)
"""
    assert await own.python(program) == ""
    assert own.tree.exceeded is None


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm"])  # noqa: S108 - the sandbox's own
async def test_files_in_memory_are_bounded(own: Room, directory: str) -> None:
    assert "No space left" in await own.shell(f"head -c 500M /dev/zero 2>&1 > {directory}/x; rm {directory}/x")
    assert own.tree.exceeded is None


async def test_core_dumps_are_not_written_and_files_and_descriptors_are_bounded(own: Room) -> None:
    limits = await own.shell("ulimit -H -c; ulimit -H -n; ulimit -H -f")
    core, files, blocks = limits.split()
    assert core == "0"
    assert int(files) <= 65536
    assert int(blocks) > 0
