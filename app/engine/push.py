"""Commit what is in a workspace, and push it to a branch of its repository.

The commit is made in a repository of the server's. Of the agent's it reads only objects and references, never its
configuration: where to push to was remembered when the session began, and the credentials are the server's.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from app.engine.repositories import WORKFLOW, sources
from app.errors import ApiError, BadRequest, Detail, NotSupported, PushFailed, WorkspaceFileNotFound
from app.git.access import GitAccess
from app.git.names import is_branch, scheme_of
from app.git.process import GitFailed
from app.git.remote import CloneFailed, push_branch
from app.git.repository import Repository
from app.models.sessions import SessionCreate
from app.models.workspaces import Push, PushCreate
from app.workspaces.local import LocalAccess, LocalDirectoryError, common_directory, find_worktree, head_of
from app.workspaces.paths import find, open_file
from app.workspaces.workspace import Workspace

_RECORD = "origins.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REFERENCE = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")
_MAX_REFERENCES = 2**24
_NAME, _EMAIL = "Ambient Public API", "ambient-public-api@localhost"


class Origin(msgspec.Struct, frozen=True):
    """A repository in a workspace as the session got it: its directory, git's own, its commit, and where it is from."""

    name: str
    git_directory: str
    commit: str | None
    url: str | None = None
    """Of a local directory; that of a clone is in the session, since it may have a password."""


async def record_origins(new: SessionCreate, root: Path, data: Path, access: LocalAccess) -> None:
    """Remember the repositories with which a session begins, unless that is done."""
    if await asyncio.to_thread((data / _RECORD).exists):
        return
    names = [""] if new.workspace else [source.name for source in sources(new) if source.name != WORKFLOW]
    if not new.workspace:
        access = LocalAccess([root], access.sandbox)
    git = access.git(reads=[root])
    found = []
    for name in names:
        with suppress(GitFailed, LocalDirectoryError):
            common = await common_directory(root / name, access)
            place = ("-C", str(root / name))
            commit = await git.run(*place, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", succeeds=(0, 1, 128))
            url = b""
            if new.workspace:
                url = await git.run(*place, "config", "--get", "remote.origin.url", succeeds=(0, 1))
            head, origin = (text.decode("utf-8", "replace").strip() for text in (commit, url))
            found.append(Origin(name, str(common), head or None, origin or None))
    await asyncio.to_thread(_write_record, data, found)


def check(wanted: PushCreate) -> None:
    """Raise `BadRequest` for a branch whose name git does not accept."""
    if not is_branch(wanted.branch) or wanted.branch.startswith("refs/"):
        raise BadRequest(
            details=[Detail("body.branch", "must be a name that git accepts for a branch, without refs/heads/")]
        )


async def push(
    workspace: Workspace,
    new: SessionCreate,
    wanted: PushCreate,
    *,
    title: str,
    access: GitAccess,
    roots: Sequence[Path],
) -> Push:
    """Commit what is in a repository of a session's workspace, and push it to a branch, never by force.

    `title` is the message where the request has none; `roots` are the directories below which local repositories may be
    pushed to. The same state is the same commit. The name of the branch has been checked. Raises
    `WorkspaceFileNotFound` for a repository that is none, `NotSupported`, `RemoteMoved`, `PushFailed`.
    """
    origin = _choose(await asyncio.to_thread(_read_record, workspace.data), wanted.repo)
    url, access = _target(origin, new, access, roots)
    async with workspace.lock:
        try:
            maker = _Commits(workspace, origin)
            commit = await maker.commit(wanted.branch, wanted.message or title)
            await push_branch(
                url,
                commit,
                wanted.branch,
                access=access,
                repository=maker.repository.directory,
                objects=maker.objects,
            )
            await maker.remember(wanted.branch, commit)
        except CloneFailed as error:
            raise PushFailed(f"The push failed: {error}.") from error
        except GitFailed as error:
            raise PushFailed("The commit could not be made.") from error
    return Push(commit=commit, branch=wanted.branch)


class _Commits:
    """Makes commits of a repository's files, with the agent's commits as parents where they can be read."""

    def __init__(self, workspace: Workspace, origin: Origin) -> None:
        self._workspace = workspace
        self._origin = origin
        self.objects = Path(origin.git_directory) / "objects"
        name = hashlib.sha256(origin.name.encode()).hexdigest()[:16]
        self.repository: Repository = workspace.repository(f"push-{name}", self.objects)

    async def commit(self, branch: str, message: str) -> str:
        """Return the commit to push: the agent's, if it has all that is there."""
        await self.repository.make("")
        await asyncio.to_thread(self._copy_boundary)
        head = await self._head() or await self._known(self._origin.commit)
        last = await self._known(self._reference(branch))
        parents = [commit for commit in dict.fromkeys((last, head)) if commit]
        if self._origin.commit and not parents:
            raise PushFailed("The push failed: the history of the repository is gone from the workspace.")
        if len(parents) > 1:
            independent = await self.repository.run("merge-base", "--independent", *parents)
            parents = independent.decode().split()
        tree = await self._workspace.tree_of(self._origin.name, self.repository, head)
        if len(parents) == 1 and tree == await self._tree(parents[0]):
            return parents[0]
        options = [word for parent in parents for word in ("-p", parent)]
        identity = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in _WHO.items()}
        made = await self.repository.run("commit-tree", tree, *options, "-m", message, environment=identity)
        return made.decode().strip()

    async def remember(self, branch: str, commit: str) -> None:
        """Note what was pushed, so that the next push of the branch follows it."""
        await self.repository.run("update-ref", self._reference(branch), commit)

    def _reference(self, branch: str) -> str:
        return f"refs/pushed/{hashlib.sha256(branch.encode()).hexdigest()[:32]}"

    async def _tree(self, commit: str) -> str:
        return (await self.repository.run("rev-parse", f"{commit}^{{tree}}")).decode().strip()

    async def _known(self, name: str | None) -> str | None:
        """Return the commit of a name if it can be read, with its tree."""
        if name is None:
            return None
        command = ("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        found = await self.repository.run(*command, succeeds=(0, 1, 128))
        return found.decode().strip() or None

    async def _head(self) -> str | None:
        """Return the commit that the agent has checked out, if it follows the session's and is complete."""
        worktree = await asyncio.to_thread(find_worktree, self._workspace.data)
        name = await asyncio.to_thread(head_of, worktree) if worktree else "HEAD"
        commit = await self._known(await asyncio.to_thread(_resolve, Path(self._origin.git_directory), name))
        base = await self._known(self._origin.commit)
        if commit is None or commit == base:
            return commit
        try:
            if base:
                await self.repository.run("merge-base", "--is-ancestor", base, commit)
            excluded = ("--not", base) if base else ()
            await self.repository.run("rev-list", "--objects", "--quiet", commit, *excluded)
        except GitFailed:
            return None
        return commit

    def _copy_boundary(self) -> None:
        """Take over where the agent's repository has no history."""
        content = _read(Path(self._origin.git_directory), b"shallow") or b""
        commits = {line for line in content.decode("ascii", "replace").splitlines() if _COMMIT.fullmatch(line)}
        (self.repository.directory / "shallow").unlink(missing_ok=True)
        if commits:
            (self.repository.directory / "shallow").write_text("".join(f"{commit}\n" for commit in sorted(commits)))


_WHO = {"NAME": _NAME, "EMAIL": _EMAIL}


def _choose(origins: Sequence[Origin], name: str | None) -> Origin:
    """Return the repository of that name, or the only one."""
    if not origins:
        raise NotSupported("The session's workspace has no repository that could be pushed.")
    found = origins if name is None and len(origins) == 1 else [each for each in origins if each.name == name]
    if not found:
        raise WorkspaceFileNotFound("The workspace has no such repository, or has several and none is named.")
    return found[0]


def _target(origin: Origin, new: SessionCreate, access: GitAccess, roots: Sequence[Path]) -> tuple[str, GitAccess]:
    """Return the URL to push to and the access to it; `NotSupported` if there is none, or it may not be reached."""
    if not new.workspace:
        return next(source.url for source in sources(new) if source.name == origin.name), access
    if origin.url is None:
        raise NotSupported("The local repository has no remote named origin.")
    path = Path(origin.url.removeprefix("file://"))
    if path.is_absolute():
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
            raise NotSupported("LOCAL_ROOTS does not permit the repository that is the remote named origin.")
        return real.as_uri(), msgspec.structs.replace(access, protocols=("file",))
    if scheme_of(origin.url) not in access.protocols:
        raise NotSupported("GIT_PROTOCOLS does not permit the URL of the remote named origin.")
    return origin.url, access


def _resolve(git_directory: Path, name: str) -> str | None:
    """Return the commit of a reference, read from the files of a repository."""
    if _COMMIT.fullmatch(name):
        return name
    for _ in range(5):
        content = (_read(git_directory, name.encode()) or b"").decode("utf-8", "replace").strip()
        if _COMMIT.fullmatch(content):
            return content
        target = content.removeprefix("ref: ")
        if target == content or not _REFERENCE.fullmatch(target):
            break
        name = target
    packed = (_read(git_directory, b"packed-refs") or b"").decode("utf-8", "replace")
    found = (line.partition(" ") for line in packed.splitlines())
    return next((commit for commit, _, named in found if named == name and _COMMIT.fullmatch(commit)), None)


def _read(directory: Path, name: bytes) -> bytes | None:
    """Return the start of a regular file of a repository, None if there is none."""
    with (
        suppress(ApiError, OSError),
        find(directory, name, git=True) as found,
        os.fdopen(open_file(found), "rb") as file,
    ):
        return file.read(_MAX_REFERENCES)
    return None


def _read_record(data: Path) -> list[Origin]:
    with suppress(FileNotFoundError):
        return msgspec.json.decode((data / _RECORD).read_bytes(), type=list[Origin])
    return []


def _write_record(data: Path, origins: Sequence[Origin]) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / _RECORD).write_bytes(msgspec.json.encode(origins))
