"""git in the sandbox: it clones, and a git that has been taken over reaches nothing else."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.git.access import GitAccess
from app.git.remote import CloneFailed, clone
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.repositories import make_repository
from tests.support.sandboxed import confined, needs_sandbox

pytestmark = needs_sandbox

PYTHON = getattr(sys, "_base_executable", sys.executable)
Cloning = Callable[[str], "asyncio.Task[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "workspaces" / "project" / "own").mkdir(parents=True)
    (data / "ambient.db").write_text("secret")
    return data


@pytest.fixture
def cloning(data: Path) -> Cloning:
    """Clone a URL in the sandbox; the task returns what git has written, and the reason of a failure."""

    async def run(url: str) -> str:
        lines: list[str] = []
        access = GitAccess(("file",), sandbox=confined(hidden=[data]))
        target = data / "workspaces/project/own/repository"
        try:
            await clone(url, None, target, access=access, max_bytes=10**9, log=lines.append)
        except CloneFailed as error:
            lines.append(str(error))
        return "\n".join(lines)

    return lambda url: asyncio.create_task(run(url))


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in git's place."""

    def make(script: str) -> None:
        command = tmp_path / "bin" / "git"
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")

    return make


async def test_a_repository_of_this_machine_is_cloned(cloning: Cloning, data: Path) -> None:
    assert await cloning(make_repository(data.parent / "origin")) == ""
    assert (data / "workspaces/project/own/repository/README").read_text() == "hello"


async def test_a_workspace_of_another_session_is_not_cloned(cloning: Cloning, data: Path) -> None:
    origin = make_repository(data / "workspaces/victim/other")
    (data.parent / "link").symlink_to(data / "workspaces")
    for url in (origin, f"file://{data.parent}/link/victim/other/api"):
        assert "does not appear to be a git repository" in await cloning(url)


async def test_a_git_that_is_taken_over_sees_nothing_of_this_service(
    cloning: Cloning, data: Path, fake_git: Callable[[str], None]
) -> None:
    fake_git(
        f"exec >&2; ls -A {data} {data}/workspaces/project /; cat {data}/ambient.db; touch /usr/x {data}/x; exit 1"
    )
    seen = await cloning("file:///x")
    assert f"{data}:\nworkspaces" in seen
    assert f"{data}/workspaces/project:\nown\n" in seen
    assert "secret" not in seen
    assert seen.count("Read-only file system") == 1, "what is written beside the workspace is gone with the sandbox"
    assert not (data / "x").exists()


async def test_a_git_that_is_taken_over_is_refused_the_system_calls_that_lead_out(
    cloning: Cloning, fake_git: Callable[[str], None]
) -> None:
    program = """
import socket
socket.socket(socket.AF_INET)
for family in (socket.AF_VSOCK, socket.AF_ALG):
    try:
        socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        print(error.errno)
"""
    fake_git(f"exec >&2; {PYTHON} -I -c '{program}'; exit 1")
    assert (await cloning("file:///x")).split()[:2] == [str(errno.EAFNOSUPPORT)] * 2


async def test_nothing_outlives_a_clone_that_is_cancelled(
    cloning: Cloning, data: Path, fake_git: Callable[[str], None]
) -> None:
    fake_git(f"cd {data}/workspaces/project/own; (setsid sleep 600 &); setsid setsid sleep 601 & sleep 602")
    task = cloning("file:///x")
    await asyncio.to_thread(eventually, lambda: len(working_in(str(data))) >= 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(eventually, lambda: not working_in(str(data)))
