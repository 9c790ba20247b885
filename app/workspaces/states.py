"""The state of a workspace as a git tree, and the baseline: its state when the session got it.

Trees are in a repository of the server's, outside of the workspace. So it does not matter what becomes of the agent's
own repositories, and a workspace without one can be compared as well. A repository within the workspace is a part of
it like any directory: its files are in the tree, its `.git` is not. Files that `.gitignore` names are left out
unless they were tracked there.
"""

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from app.errors import ApiError, WorkspaceFileNotFound, WorkspaceNotReady, WrongFileType
from app.git.process import UNCONFINED, Git, GitFailed
from app.git.repository import Repository
from app.workspaces.gitlinks import put_back, set_aside
from app.workspaces.packing import MANY, pack
from app.workspaces.paths import api_errors, find, is_git, open_file
from app.workspaces.pipes import check_pipes

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
MAX_REPOSITORIES = 64
"""Repositories within a workspace whose files are compared."""

# Bytes are compared as they are: no conversion of line ends, no filters, no texts that count as binary.
_ATTRIBUTES = "* !text !eol !ident !filter !working-tree-encoding !diff !merge !conflict-marker-size\n"
_MAX_INDEX = 2**28
_GITLINK = b"160000"
_TREE = re.compile(r"[0-9a-f]{40}")


LargeFiles = dict[str, tuple[int, int]]
"""Files that are too large for a tree, with their sizes and times in ns; paths as `os.fsdecode` returns them."""


class Baseline(msgspec.Struct, frozen=True):
    """The beginning of a workspace."""

    tree: str
    large: LargeFiles = {}


class WorkspaceState(msgspec.Struct, frozen=True):
    """A state of a workspace. In its tree, files that are too large by now are as they were at the beginning."""

    tree: str
    large: LargeFiles
    grown: frozenset[str]
    """Those of the large files that are in the tree of the baseline."""


class WorkspaceStates:
    """The states of one workspace: `root` is its directory, `directory` the server's own for it."""

    def __init__(self, root: Path, directory: Path, *, max_file: int, git: Git = UNCONFINED) -> None:
        self._root = root
        self._directory = directory
        self._max_file = max_file
        self.repository = Repository(directory / "git", git)

    async def begin(self) -> None:
        """Take the baseline unless there is one. An empty workspace needs no git for it."""
        if await asyncio.to_thread(self._baseline_file.exists):
            return
        if await asyncio.to_thread(_is_empty, self._root):
            baseline = Baseline(EMPTY_TREE)
        else:
            state = await self.take()
            baseline = Baseline(state.tree, state.large)
        await asyncio.to_thread(self._write_baseline, baseline)

    async def baseline(self) -> Baseline:
        """Return the baseline; `WorkspaceNotReady`."""
        try:
            content = await asyncio.to_thread(self._baseline_file.read_bytes)
        except FileNotFoundError as error:
            raise WorkspaceNotReady from error
        return msgspec.json.decode(content, type=Baseline)

    async def exists(self, path: bytes) -> bool:
        """Return whether there is something at a path by now, such as a link that leads nowhere."""
        return await asyncio.to_thread(_exists, self._root, path)

    async def require(self, tree: str) -> str:
        """Return the tree of an earlier state by its id; `WorkspaceFileNotFound`."""
        is_complete = await asyncio.to_thread((self.repository.directory / "complete").exists)
        if is_complete and _TREE.fullmatch(tree):
            with suppress(GitFailed):
                await self.repository.run("cat-file", "-e", f"{tree}^{{tree}}")
                return tree
        raise WorkspaceFileNotFound("The workspace has had no such state.")

    async def take(self) -> WorkspaceState:
        """Return the current state. One at a time: the indexes make the next one quick, and are not shared.

        Raises `WrongFileType` if there is a pipe for which git would wait.
        """
        await asyncio.to_thread(check_pipes, self._root)
        await self.repository.make(_ATTRIBUTES)
        begun = await self._entries_of_baseline()
        large: dict[bytes, tuple[int, int]] = {}
        trees: list[tuple[bytes, str]] = []
        directories = [b""]
        while directories:
            prefix = directories.pop(0)
            tracked = {path[len(prefix) :] for path in begun if path.startswith(prefix)}
            part = Part(self.repository, self._root, prefix, self._directory / "indexes", self._max_file)
            nested = await part.update(tracked)
            large |= part.large
            trees.append((prefix, await part.tree()))
            room = MAX_REPOSITORIES - len(trees) - len(directories)
            directories += [prefix + name for name in nested[: max(0, room)]]
        tree = await self._join(trees, {path: begun.get(path) for path in large})
        names = {path: os.fsdecode(path) for path in large}
        return WorkspaceState(
            tree,
            {names[path]: state for path, state in large.items()},
            frozenset(names[path] for path in large if path in begun),
        )

    async def _entries_of_baseline(self) -> dict[bytes, bytes]:
        """Return mode and object of each file of the baseline; nothing before there is one."""
        with suppress(WorkspaceNotReady):
            listed = await self.repository.run("ls-tree", "-r", "-z", (await self.baseline()).tree)
            entries = (entry.partition(b"\t") for entry in _split(listed))
            return {path: b"%b %b" % (info.split()[0], info.split()[2]) for info, _, path in entries}
        return {}

    async def _join(self, trees: list[tuple[bytes, str]], large: dict[bytes, bytes | None]) -> str:
        """Return the tree of all repositories, each in its directory. Large files are in it as they were."""
        if len(trees) == 1 and not large:
            return trees[0][1]
        index = self._directory / "indexes" / "joined"
        await asyncio.to_thread(index.unlink, missing_ok=True)
        for prefix, tree in trees:
            place = [f"--prefix={os.fsdecode(prefix)}"] if prefix else []
            await self.repository.run("read-tree", *place, tree, index=index, work_tree=self._root)
        if large:
            removed = b"0 %b" % (b"0" * 40)
            lines = [b"%b\t%b\0" % (entry or removed, path) for path, entry in large.items()]
            await self.repository.run("update-index", "-z", "--index-info", index=index, input=b"".join(lines))
        return (await self.repository.run("write-tree", index=index)).decode().strip()

    @property
    def _baseline_file(self) -> Path:
        return self._directory / "baseline.json"

    def _write_baseline(self, baseline: Baseline) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        complete = self._directory / "baseline.new"
        complete.write_bytes(msgspec.json.encode(baseline))
        complete.rename(self._baseline_file)


class Part:
    """A repository within the workspace, or the workspace itself, with an index of the server's."""

    def __init__(self, repository: Repository, root: Path, prefix: bytes, indexes: Path, max_file: int) -> None:
        self._repository = repository
        self._root = root
        self._prefix = prefix
        self._indexes = indexes
        self._max_file = max_file
        self._work_tree = root / os.fsdecode(prefix) if prefix else root
        self._index = indexes / hashlib.sha256(prefix).hexdigest()[:32]
        self.large: dict[bytes, tuple[int, int]] = {}

    async def update(self, tracked: set[bytes]) -> list[bytes]:
        """Bring the index up to date; return the directories below that are repositories of their own.

        Files that are ignored are added if they are `tracked`, or in the agent's own index.
        """
        await asyncio.to_thread(self._indexes.mkdir, mode=0o700, parents=True, exist_ok=True)
        try:
            return await self._update(tracked)
        except GitFailed:  # an index that was not finished, for example
            await asyncio.to_thread(self._remove_index)
            return await self._update(tracked)

    async def tree_after(self, head: str | None) -> str:
        """Return the tree of the files that are there, where those of a commit are tracked."""
        await asyncio.to_thread(self._indexes.mkdir, mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._remove_index)
        if head:
            await self._git("read-tree", head)
        links = await set_aside(self._git)
        await self._update(set())
        await put_back(self._git, links, self._work_tree)
        return await self.tree()

    async def tree(self) -> str:
        """Return the tree of the index."""
        return (await self._git("write-tree")).decode().strip()

    async def _update(self, tracked: set[bytes]) -> list[bytes]:
        await set_aside(self._git)
        listed = _split(await self._git("ls-files", "-z", "--others", "--modified", "--exclude-standard"))
        nested = [path for path in listed if path.endswith(b"/")]
        self.large = await asyncio.to_thread(self._find_large, [path for path in listed if not path.endswith(b"/")])
        left_out = [path.rstrip(b"/") for path in (*nested, *(path[len(self._prefix) :] for path in self.large))]
        if len(listed) >= MANY:
            await pack(self._repository, self._root, [self._prefix + path for path in listed])
        pathspec = b"\0".join([b":/", *(b":(top,exclude,literal)" + path for path in left_out)])
        await self._git(
            *("add", "--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"),
            input=pathspec,
            succeeds=(0, 1),  # 1: a file vanished meanwhile, or may not be read
        )
        await self._add_ignored(tracked | await self._tracked_by_agent(), nested)
        return nested

    async def _add_ignored(self, tracked: set[bytes], nested: list[bytes]) -> None:
        """Add the tracked files that are still missing, and in none of the repositories below."""
        missing = tracked.difference(_split(await self._git("ls-files", "-z")))
        if missing and (present := await asyncio.to_thread(self._present, missing, tuple(nested))):
            with suppress(GitFailed):  # one of them is no longer what it was
                await self._git("update-index", "-z", "--add", "--remove", "--stdin", input=b"\0".join(present))

    async def _tracked_by_agent(self) -> set[bytes]:
        """Return the files in the index of the agent's repository."""
        copy = self._index.with_suffix(".theirs")
        try:
            if await asyncio.to_thread(self._copy_index, copy):
                entries = _split(await self._git("ls-files", "-z", "--stage", index=copy))
                return {entry.partition(b"\t")[2] for entry in entries if not entry.startswith(_GITLINK)}
        except GitFailed:  # a split index, for example
            pass
        finally:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
        return set()

    def _copy_index(self, copy: Path) -> bool:
        """Copy the index of the agent's repository; return whether it has one that can be read."""
        path = self._prefix + b".git/index"
        with (
            suppress(ApiError, OSError),
            find(self._root, path, git=True) as found,
            os.fdopen(open_file(found), "rb") as source,
        ):
            if os.fstat(source.fileno()).st_size <= _MAX_INDEX:
                copy.write_bytes(source.read(_MAX_INDEX))
                return True
        return False

    def _present(self, paths: Iterable[bytes], nested: tuple[bytes, ...]) -> list[bytes]:
        """Return those paths at which there is a file or a link, not below a link or a repository of its own."""
        top = os.path.realpath(os.fsencode(self._work_tree))
        present = []
        for path in sorted(path for path in paths if not path.startswith(nested)):
            if any(part == b".." or is_git(part) for part in path.split(b"/")):
                continue
            full = top + b"/" + path
            with suppress(OSError):
                info = os.lstat(full)
                is_file = stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)
                parent = os.path.dirname(full)  # noqa: PTH120 - bytes
                if is_file and info.st_size <= self._max_file and os.path.realpath(parent) == parent:
                    present.append(path)
        return present

    def _find_large(self, paths: list[bytes]) -> dict[bytes, tuple[int, int]]:
        large = {}
        for path in paths:
            with suppress(OSError):
                info = os.lstat(os.fsencode(self._work_tree) + b"/" + path)
                if info.st_size > self._max_file:
                    large[self._prefix + path] = (info.st_size, info.st_mtime_ns)
        return large

    def _remove_index(self) -> None:
        self._index.unlink(missing_ok=True)
        self._index.with_suffix(".lock").unlink(missing_ok=True)

    async def _git(self, *command: str, index: Path | None = None, **options: object) -> bytes:
        return await self._repository.run(
            *command,
            index=index or self._index,
            work_tree=self._work_tree,
            **options,  # type: ignore[arg-type]
        )


def _split(output: bytes) -> list[bytes]:
    return output.split(b"\0")[:-1]


def _exists(root: Path, path: bytes) -> bool:
    with suppress(WorkspaceFileNotFound, WrongFileType), api_errors(), find(root, path, follow=False) as found:
        return found.info is not None
    return False


def _is_empty(root: Path) -> bool:
    with os.scandir(root) as entries:
        return next(entries, None) is None
