"""A workspace whose path leads elsewhere: an agent at work around it has replaced a directory by a link."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from app.agent_definition import AgentDefinition
from app.errors import WorkspaceNotReady
from app.git.process import Git, GitFailed
from app.models.workspaces import ArchiveFormat
from app.real_paths import identities
from app.results import StreamedBody
from app.sandbox.bubblewrap import View
from app.sandbox.process_tree import SandboxError
from app.sandbox.sandbox import NO_SANDBOX, REPLACED, Sandbox, SessionPaths
from app.workspaces.workspace import Workspace
from tests.support.repositories import names
from tests.support.sandboxed import confined, needs_sandbox

BOTH = [pytest.param("bwrap", marks=needs_sandbox), "off"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace in place, in a directory where another agent works in place."""
    root = tmp_path / "src" / "shop" / "part"
    root.mkdir(parents=True)
    (root / "file").write_text("the user's")
    return root


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory of the user's that is nobody's business, with files as a workspace has them."""
    secret = tmp_path / "home" / "part"
    secret.mkdir(parents=True)
    (secret / "file").write_text("secret")
    (secret / "id_rsa").write_text("secret")
    return secret


@pytest.fixture(params=BOTH)
async def workspace(root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    sandbox = confined() if request.param == "bwrap" else NO_SANDBOX
    workspace = Workspace(root, tmp_path / "data", max_file=1000, sandbox=sandbox)
    await workspace.begin()
    return workspace


def replace(root: Path, secret: Path) -> None:
    root.parent.rename(root.parent.with_name("moved"))
    root.parent.symlink_to(secret.parent)


async def content(body: StreamedBody) -> bytes:
    return b"".join([chunk async for chunk in body.chunks])


async def some() -> AsyncIterator[bytes]:
    yield b"the agent's"


USES: dict[str, Callable[[Workspace], Awaitable[object]]] = {
    "read": lambda workspace: workspace.read_file(b"id_rsa"),
    "list": lambda workspace: content(workspace.list_files(b"", depth=None, limit=10)),
    "write": lambda workspace: workspace.write_file(b"authorized_keys", some()),
    "archive": lambda workspace: content(workspace.archive(b"", ArchiveFormat.ZIP)),
}


@pytest.mark.parametrize("use", USES)
async def test_nothing_is_read_or_written_there(workspace: Workspace, root: Path, secret: Path, use: str) -> None:
    replace(root, secret)
    with pytest.raises(WorkspaceNotReady):
        await USES[use](workspace)
    assert names(secret) == ["file", "id_rsa"]


@needs_sandbox
async def test_nothing_there_is_a_change(root: Path, secret: Path, tmp_path: Path) -> None:
    workspace = Workspace(root, tmp_path / "data", max_file=1000, sandbox=confined())
    await workspace.begin()
    replace(root, secret)
    with pytest.raises(WorkspaceNotReady):
        await workspace.patch(b"")


@needs_sandbox
async def test_git_is_not_started_when_a_directory_is_replaced_just_before(root: Path, secret: Path) -> None:
    class Racing(Sandbox):
        """Has a directory replaced between the look at it and the start."""

        def wrap(self, command: Sequence[str], view: View, refusals: int | None = None) -> list[str]:
            words = super().wrap(command, view, refusals)
            replace(root, secret)
            return words

    found = confined()
    git = Git(
        view=View(readable=[root], contested=[root], network=False), sandbox=Racing(found._program, extra=found._extra)
    )
    with pytest.raises(GitFailed):
        await git.run(
            "hash-object",
            "--no-filters",
            "--",
            str(root / "file"),
            succeeds=[each for each in range(256) if each != REPLACED],
        )


@needs_sandbox
async def test_an_agent_does_not_start_there(root: Path, secret: Path, tmp_path: Path) -> None:
    agent = AgentDefinition(name="test", kind="acp", command=(sys.executable,))
    replace(root, secret)
    with pytest.raises(SandboxError, match="replaced by a link"):
        await confined().open(agent, SessionPaths(home=tmp_path / "own", writable=[root]))


@needs_sandbox
async def test_an_agent_does_not_start_when_a_directory_is_replaced_just_before(
    root: Path, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_and_replace(paths: list[Path]) -> dict[str, str]:
        found = identities(paths)
        replace(root, secret)
        return found

    monkeypatch.setattr("app.sandbox.sandbox.identities", find_and_replace)
    agent = AgentDefinition(name="test", kind="acp", command=(sys.executable,))
    with pytest.raises(SandboxError, match="replaced by a link"):
        await confined().open(agent, SessionPaths(home=tmp_path / "own", writable=[root]))


async def test_a_file_is_not_written_into_a_link_that_comes_and_goes(root: Path, secret: Path, tmp_path: Path) -> None:
    """The directory is exchanged with a link without end, as fast as a program can."""
    link = root.parent.with_name("link")
    link.symlink_to(secret.parent)
    program = f"""
import ctypes
libc = ctypes.CDLL(None)
while True:
    libc.renameat2(-100, {os.fsencode(link)!r}, -100, {os.fsencode(root.parent)!r}, 2)
"""
    racer = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", program)
    workspace = Workspace(root, tmp_path / "data", max_file=1000)
    written = refused = 0
    try:
        while written < 20 or refused < 20:
            try:
                await workspace.write_file(b"note", some())
                written += 1
                assert b"id_rsa" not in await content(workspace.list_files(b"", depth=None, limit=10))
            except WorkspaceNotReady:
                refused += 1
    finally:
        racer.kill()
        await racer.wait()
    assert names(secret) == ["file", "id_rsa"]
