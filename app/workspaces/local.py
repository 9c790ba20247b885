"""Directories of this machine as workspaces: in place, or as git worktrees that begin at their last commit.

A worktree is the server's, its repository is the user's. The session works on a branch `ambient/<session>` there, which
stays if it has commits. The server's git runs nothing that the repository configures, sees nothing of the machine but
the directories that are permitted, and does not read what an agent could have changed: where things are is remembered
from the beginning.
"""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from app.errors import ApiError, BadRequest, Detail
from app.git.process import Git, GitFailed
from app.models.sessions import LocalDirectory, SessionCreate, WorkspaceMode
from app.real_paths import is_real
from app.sandbox.bubblewrap import View
from app.sandbox.sandbox import NO_SANDBOX, Sandbox
from app.workspaces.gitlinks import put_back, set_aside
from app.workspaces.paths import find, open_file
from app.workspaces.pipes import find_pipes
from app.workspaces.removal import remove_tree

BRANCH = "ambient/"
"""How the names of the branches of worktrees begin."""

_AUTHOR = "ambient-public-api"
_EMAIL = "ambient-public-api@localhost"
_NO_COMMIT = "The local directory is no git repository with a commit."
_RECORD = "worktree.json"
_HEAD = re.compile(r"refs/heads/[^\x00-\x20\x7f~^:?*\[\\]+|[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_HEAD = 4096


class LocalDirectoryError(Exception):
    """A local directory cannot be used any more; the message is safe to show to clients."""


class LocalAccess(msgspec.Struct, frozen=True):
    """The directories below which git may use repositories of the user's for one project, and its confinement."""

    roots: Sequence[Path]
    sandbox: Sandbox = NO_SANDBOX

    def git(
        self, *, reads: Sequence[Path], writes: Sequence[Path] = (), environment: Mapping[str, str] | None = None
    ) -> Git:
        """Return git that reads what is below the roots and some other directories, and writes to some."""
        who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in _WHO.items()}
        view = View(readable=[*self._real_roots, *reads], writable=writes, contested=[*reads, *writes], network=False)
        return Git(view=view, sandbox=self.sandbox, environment={**who, **(environment or {})})

    def permits(self, path: Path) -> bool:
        """Return whether a path exists, is below one of the roots, and no part of it is a link."""
        return is_real(path) and any(path.is_relative_to(root) for root in self._real_roots)

    @property
    def _real_roots(self) -> list[Path]:
        return [Path(os.path.realpath(root)) for root in self.roots]


class Worktree(msgspec.Struct, frozen=True):
    """A worktree as it was made: its branch and first commit, and the directories of git, as absolute paths."""

    path: str
    branch: str
    commit: str
    git_directory: str
    """The worktree's own, in the repository's."""
    common_directory: str
    """The repository's `.git`."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which git uses the user's repository for these files, whatever the worktree says."""
        return {"GIT_DIR": self.common_directory, "GIT_WORK_TREE": self.path}

    @property
    def writable(self) -> list[Path]:
        """Return where git writes when the agent commits: objects, the branch, and what is the worktree's own."""
        common = Path(self.common_directory)
        branches = Path("refs/heads", BRANCH)
        return [common / "objects", common / branches, common / "logs" / branches, Path(self.git_directory)]


def check(new: SessionCreate, roots: Sequence[Path], hidden: Sequence[Path]) -> SessionCreate:
    """Return a request with the resolved path and the mode of its local directory, if it has one.

    `roots` are the directories below which there are such of its project; nothing that is `hidden`, or has that in it,
    can be used in place. Raises `BadRequest`.
    """
    chosen = new.workspace
    if chosen is None:
        return new
    mode = chosen.mode or WorkspaceMode.WORKTREE
    in_place = mode is WorkspaceMode.IN_PLACE
    details = [
        Detail(f"body.{name}", "cannot be combined with workspace")
        for name, value in (("repos", new.repos), ("active_workflow", new.active_workflow))
        if value
    ]
    try:
        path = Path(chosen.path).resolve(strict=True)
        is_allowed = path.is_dir() and any(path.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle, ValueError: NUL
        is_allowed = False
    if not is_allowed or not Path(chosen.path).is_absolute() or ".git" in path.parts:
        problem = "must be the absolute path of a directory that LOCAL_ROOTS permits for this project"
        details.append(Detail("body.workspace.path", problem))
    elif any(path.is_relative_to(each) or (in_place and each.is_relative_to(path)) for each in hidden):
        details.append(Detail("body.workspace.path", "must not have the server's own data in it"))
    if not details and not in_place and not os.path.lexists(path / ".git"):
        problem = "must be the top directory of a git repository, or be used with the mode in_place"
        details.append(Detail("body.workspace.path", problem))
    if details:
        raise BadRequest("The session's workspace is not valid.", details=details)
    return msgspec.structs.replace(new, workspace=LocalDirectory(path=str(path), mode=mode))


async def provision(chosen: LocalDirectory, session_id: str, target: Path, data: Path, access: LocalAccess) -> None:
    """Make the worktree of a session at `target`, unless it is there; in place there is nothing to make.

    `data` is the server's own directory for the workspace. Raises `LocalDirectoryError`.
    """
    source = Path(chosen.path)
    if not await asyncio.to_thread(is_real, source):
        raise LocalDirectoryError("The local directory is not there any more.")
    if chosen.mode is WorkspaceMode.IN_PLACE or await asyncio.to_thread(find_worktree, data) is not None:
        return
    branch = f"{BRANCH}{session_id}"
    common = await common_directory(source, access)
    git = access.git(reads=[source], writes=[common, target])
    try:
        commit = await _run(git, "-C", str(source), "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitFailed as error:
        raise LocalDirectoryError(_NO_COMMIT) from error
    await asyncio.to_thread(_discard, target, common / "worktrees" / target.name)
    await asyncio.to_thread(target.mkdir, mode=0o700, parents=True, exist_ok=True)
    try:
        add = ("worktree", "add", "--quiet", "--no-checkout", "-B", branch)
        await _run(git, "-C", str(source), *add, "--", str(target), commit)
        # Here, since configuration may depend on the branch and on git's directory.
        await _run(git, "-C", str(target), "reset", "--quiet", "--hard")
        directory = await _run(git, "-C", str(target), "rev-parse", "--path-format=absolute", "--git-dir")
    except GitFailed as error:
        raise LocalDirectoryError("The git worktree could not be made.") from error
    worktree = Worktree(str(target), branch, commit, directory, str(common))
    await asyncio.to_thread(_write_record, data, worktree)


async def common_directory(directory: Path, access: LocalAccess) -> Path:
    """Return the `.git` of the repository whose top directory this is, which has to be permitted.

    Raises `LocalDirectoryError`. An agent that works in place may have made it lead anywhere.
    """
    git = access.git(reads=[directory])
    try:
        common = Path(await _run(git, "-C", str(directory), "rev-parse", "--path-format=absolute", "--git-common-dir"))
    except GitFailed as error:
        raise LocalDirectoryError(_NO_COMMIT) from error
    if not await asyncio.to_thread(access.permits, common):
        raise LocalDirectoryError("The repository of the local directory is not below LOCAL_ROOTS.")
    return common


async def remove(data: Path, access: LocalAccess) -> None:
    """Remove a session's worktree, if it has one, once what is left in it is committed to its branch.

    The branch stays if it has commits. In place nothing is removed. Raises `LocalDirectoryError`, and then everything
    is still there.
    """
    worktree = await asyncio.to_thread(find_worktree, data)
    if worktree is None or not await asyncio.to_thread(os.path.isdir, worktree.common_directory):
        return
    if not await asyncio.to_thread(is_real, Path(worktree.common_directory)):
        raise LocalDirectoryError("The repository of the session's worktree was replaced.")
    index = data / "worktree-index" / "index"
    await asyncio.to_thread(index.parent.mkdir, mode=0o700, exist_ok=True)
    writes = [index.parent, Path(worktree.common_directory)]
    git = access.git(reads=[Path(worktree.path)], writes=writes, environment=worktree.environment)
    try:
        if await asyncio.to_thread(os.path.isdir, worktree.path):
            await asyncio.to_thread(_remove_pipes, Path(worktree.path))
            await _commit(git, worktree, index)
        reference = f"refs/heads/{worktree.branch}"
        tip = await _run(git, "rev-parse", "--verify", "--quiet", reference, succeeds=(0, 1))
        if tip == worktree.commit:
            await _run(git, "update-ref", "-d", reference, tip)
        await asyncio.to_thread(_discard, Path(worktree.path), Path(worktree.git_directory))
    except GitFailed as error:
        raise LocalDirectoryError("The work of the session could not be committed.") from error
    await asyncio.to_thread((data / _RECORD).unlink)


def find_worktree(data: Path) -> Worktree | None:
    """Return the worktree of a session, None if it has none."""
    with suppress(FileNotFoundError):
        return msgspec.json.decode((data / _RECORD).read_bytes(), type=Worktree)
    return None


async def _commit(git: Git, worktree: Worktree, index: Path) -> None:
    """Commit what is in the worktree to its branch, with an index of the server's.

    The commit follows the worktree's HEAD, and also the branch, if the agent has left that.
    """
    await asyncio.to_thread(index.unlink, missing_ok=True)
    reference = f"refs/heads/{worktree.branch}"
    tips = []
    for name in (await asyncio.to_thread(head_of, worktree), reference):
        tip = await _run(git, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", succeeds=(0, 1))
        if tip and tip not in tips:
            tips.append(tip)
    head = tips[0] if tips else worktree.commit
    await _run(git, "read-tree", head, index=index)
    plumbing = partial(git.run, environment={"GIT_INDEX_FILE": str(index)})
    links = await set_aside(plumbing)
    await _run(git, "add", "--all", "--ignore-errors", "--", ":/", succeeds=(0, 1), index=index)
    await put_back(plumbing, links, Path(worktree.path))
    tree = await _run(git, "write-tree", index=index)
    parents = await _run(git, "merge-base", "--independent", head, *tips[1:])
    if parents == head and tree == await _run(git, "rev-parse", f"{head}^{{tree}}"):
        commit = head
    else:
        options = [word for parent in parents.split() for word in ("-p", parent)]
        commit = await _run(git, "commit-tree", tree, *options, "-m", "What was left of the session's work")
    await _run(git, "update-ref", reference, commit)


async def _run(git: Git, *command: str, succeeds: Sequence[int] = (0,), index: Path | None = None) -> str:
    """Run git in a repository of the user's, without the filters that are configured there; return its output."""
    place = command[:2] if command[0] == "-C" else ()
    own = {"GIT_CEILING_DIRECTORIES": os.path.dirname(place[1])} if place else {}  # noqa: PTH120 - a text
    pattern = r"^filter\..*\.(clean|smudge|process|required)$"
    find = (*place, "config", "--null", "--name-only", "--get-regexp", pattern)
    names = dict.fromkeys((await git.run(*find, environment=own, succeeds=(0, 1))).split(b"\0")[:-1])
    own["GIT_CONFIG_COUNT"] = str(len(names))  # not by options: a name may hold an equals sign
    for number, name in enumerate(names):
        own[f"GIT_CONFIG_KEY_{number}"] = os.fsdecode(name)
        own[f"GIT_CONFIG_VALUE_{number}"] = "false" if name.endswith(b".required") else ""
    if index:
        own["GIT_INDEX_FILE"] = str(index)
    return (await git.run(*command, environment=own, succeeds=succeeds)).decode().strip()


_WHO = {"NAME": _AUTHOR, "EMAIL": _EMAIL}


def head_of(worktree: Worktree) -> str:
    """Return the branch or the commit that is checked out, as the worktree says; its branch if it says none."""
    with suppress(ApiError, OSError), find(Path(worktree.git_directory), b"HEAD") as found:
        with os.fdopen(open_file(found), "rb") as file:
            name = file.read(_MAX_HEAD).decode("utf-8", "replace").removeprefix("ref: ").strip()
        if _HEAD.fullmatch(name):
            return name
    return f"refs/heads/{worktree.branch}"


def _write_record(data: Path, worktree: Worktree) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / _RECORD).write_bytes(msgspec.json.encode(worktree))


def _remove_pipes(directory: Path) -> None:
    """Remove what git would wait for, and could not commit."""
    for path in find_pipes(directory):
        with suppress(OSError):
            (directory / os.fsdecode(path)).unlink()


def _discard(target: Path, git_directory: Path) -> None:
    """Remove a worktree of ours, and its directory in the repository."""
    for path in (target, git_directory):
        with suppress(OSError):
            remove_tree(path)
