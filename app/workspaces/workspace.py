"""One session's workspace, as its server sees it."""

import asyncio
import os
from collections.abc import AsyncIterable
from pathlib import Path
from weakref import WeakValueDictionary

from app.git.process import Git
from app.git.repository import Repository
from app.models.workspaces import ArchiveFormat, WorkspaceDiff
from app.results import FileContent, FileWritten, StreamedBody
from app.sandbox.bubblewrap import View
from app.sandbox.sandbox import NO_SANDBOX, Sandbox
from app.workspaces import changes, files, listing
from app.workspaces.archive import archive
from app.workspaces.pipes import check_pipes
from app.workspaces.states import Part, WorkspaceStates

_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


class Workspace:
    """A directory of an agent's at `root`, and at `data` a directory of the server's for what it knows of it.

    Files beyond `max_file` bytes are not compared. Git runs in the `sandbox`, with these two
    directories. Methods raise `WorkspaceNotReady` and the errors of their modules.
    """

    def __init__(self, root: Path, data: Path, *, max_file: int, sandbox: Sandbox = NO_SANDBOX) -> None:
        self.root = root
        self.data = data
        self.lock = _locks.setdefault(data, asyncio.Lock())
        """For all that compares the workspace: one at a time."""
        self._max_file = max_file
        self._sandbox = sandbox
        self._states = WorkspaceStates(root, data, max_file=max_file, git=self._git())

    def _git(self, *readable: Path) -> Git:
        view = View(
            writable=[self.data], readable=[self.root, *readable], contested=[self.root, *readable], network=False
        )
        return Git(view=view, sandbox=self._sandbox)

    def repository(self, name: str, objects: Path) -> Repository:
        """Return a repository of the server's for this workspace, which has also the objects of another one."""
        return Repository(self.data / name, self._git(objects), objects)

    async def tree_of(self, directory: str, repository: Repository, head: str | None) -> str:
        """Return the tree of a directory's files after a commit, with the rules of its own `.gitattributes`."""
        await asyncio.to_thread(check_pipes, self.root)
        prefix = os.fsencode(directory) + b"/" if directory else b""
        part = Part(repository, self.root, prefix, self.data / "indexes-for-push", self._max_file)
        return await part.tree_after(head)

    async def begin(self) -> None:
        """Remember the state with which the session begins, unless that is done."""
        async with self.lock:
            await self._states.begin()

    def list_files(self, path: bytes, *, depth: int | None, limit: int) -> StreamedBody:
        """See `listing`."""
        return listing.list_files(self.root, path, depth=depth, limit=limit)

    async def read_file(self, path: bytes) -> FileContent:
        """See `files`."""
        return await files.read_file(self.root, path)

    async def read_whole(self, path: bytes, limit: int) -> bytes | None:
        """See `files`."""
        return await files.read_whole(self.root, path, limit)

    async def write_file(self, path: bytes, content: AsyncIterable[bytes]) -> FileWritten:
        """See `files`."""
        return await files.write_file(self.root, path, content, self.data / "staging")

    def archive(self, path: bytes, format: ArchiveFormat) -> StreamedBody:
        """See `archive`."""
        name = path.rpartition(b"/")[2].decode("utf-8", "replace") or self.root.name
        return archive(self.root, path, format, name)

    async def diff(self, path: bytes, *, limit: int) -> WorkspaceDiff:
        """See `changes`."""
        async with self.lock:
            return await changes.diff(self._states, path, limit=limit)

    async def patch(self, path: bytes, state: str | None = None) -> StreamedBody:
        """See `changes`."""
        async with self.lock:
            return await changes.patch(self._states, path, state)
