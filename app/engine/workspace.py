"""A session's own directory: its repositories and its workflow, cloned; removed with everything in it."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from app.engine import git
from app.errors import BadRequest, Detail
from app.models.sessions import NewSession

WORKFLOW = ".workflow"
_UNFINISHED = ".cloning-"


class _Source(msgspec.Struct, frozen=True):
    title: str
    name: str
    url: str
    branch: str | None


class WorkspaceError(Exception):
    """A workspace could not be made or removed; the message is fit for a client to read."""


def check(new: NewSession, protocols: Sequence[str]) -> None:
    """Raise BadRequest, naming each field, for URLs, branches and paths that are refused outright."""
    if details := list(_refused(new, protocols)):
        raise BadRequest("The session's repositories are not valid.", details=details)


async def provision(
    directory: Path,
    new: NewSession,
    *,
    protocols: Sequence[str],
    limits: git.Limits = git.LIMITS,
    tell: Callable[[str], None] = lambda _text: None,
) -> None:
    """Make the workspace, or complete it: each repository in a directory of its name, the workflow in WORKFLOW.

    What is there already is kept as it is. `tell` takes what is done and what git says of it. Raises WorkspaceError.
    Cancelling ends the clone at once.
    """
    if refused := next(_refused(new, protocols), None):
        raise WorkspaceError(f"{refused.location.removeprefix('body.')} {refused.message}.")
    deadline = asyncio.get_running_loop().time() + limits.seconds
    with _os_errors("made"):
        await asyncio.to_thread(_make, directory)
        for source in await asyncio.to_thread(_missing, directory, new):
            try:
                async with asyncio.timeout_at(deadline):
                    await _clone(source, directory, protocols, limits.bytes, tell)
            except git.CloneFailed as error:
                raise WorkspaceError(f"{source.title} could not be cloned: {error}.") from error
            except TimeoutError as error:
                raise WorkspaceError(f"{source.title} could not be cloned: it took too long.") from error
        if workflow := new.active_workflow:
            await asyncio.to_thread(_check_path, directory / WORKFLOW, workflow.path)


async def delete(directory: Path) -> None:
    """Remove the workspace, read-only directories included, following no symbolic link; raise WorkspaceError."""
    with _os_errors("removed"):
        await asyncio.to_thread(_remove, directory)


def _refused(new: NewSession, protocols: Sequence[str]) -> Iterator[Detail]:
    sources = [(f"body.repos[{index}].", "url", repo.url, repo.branch) for index, repo in enumerate(new.repos or [])]
    if workflow := new.active_workflow:
        sources.append(("body.active_workflow.", "git_url", workflow.git_url, workflow.branch))
        path = PurePosixPath(workflow.path or "")
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            yield Detail("body.active_workflow.path", "must be a path inside the repository")
    for where, field, url, branch in sources:
        if git.scheme_of(url) not in protocols:
            yield Detail(where + field, f"must be a git URL by {' or '.join(protocols)}")
        if branch and not git.is_branch(branch):
            yield Detail(where + "branch", "must be the name of a branch or tag")


def _missing(directory: Path, new: NewSession) -> list[_Source]:
    return [source for source in _sources(new) if not os.path.lexists(directory / source.name)]


def _sources(new: NewSession) -> Iterator[_Source]:
    """Yield what belongs in the workspace; the second api is api-2, at every start again."""
    taken: set[str] = set()
    for number, repo in enumerate(new.repos or [], start=1):
        base = git.name_of(repo.url)
        name = next(name for name in _variants(base) if name not in taken)
        taken.add(name)
        yield _Source(f"Repository {number} ({name})", name, repo.url, repo.branch)
    if workflow := new.active_workflow:
        yield _Source("The workflow", WORKFLOW, workflow.git_url, workflow.branch)


def _variants(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{number}" for number in itertools.count(2))


async def _clone(
    source: _Source, directory: Path, protocols: Sequence[str], max_bytes: int, tell: Callable[[str], None]
) -> None:
    """Clone beside the place and move the repository there when it is whole."""
    # Not in a thread: a cancel that comes meanwhile would leave it behind.
    scratch = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=directory))
    try:
        whole = scratch / source.name

        def tell_of_it(text: str) -> None:
            tell(text.replace(str(whole.absolute()), source.name))

        tell(f"cloning {source.url} ({source.branch or 'its default branch'}) as {source.name}")
        await git.clone(source.url, source.branch, whole, protocols=protocols, max_bytes=max_bytes, tell=tell_of_it)
        whole.rename(directory / source.name)
    finally:
        await asyncio.to_thread(_remove, scratch)


def _check_path(root: Path, path: str | None) -> None:
    """A repository may hold symbolic links; the path must not lead out of it by one."""
    try:
        inside = (root / (path or ".")).resolve(strict=True).is_relative_to(root.parent.resolve() / root.name)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        inside = False
    if not inside:
        raise WorkspaceError("The workflow's repository does not have the given path.")


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in directory.glob(f"{_UNFINISHED}*"):
        _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        _make_writable(path)
        shutil.rmtree(path)


def _make_writable(path: Path) -> None:
    path.chmod(0o700)
    for directory, names, _ in os.walk(path):
        for name in names:
            if not (entry := Path(directory) / name).is_symlink():
                entry.chmod(0o700)


@contextmanager
def _os_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceError(f"The workspace could not be {what}.") from error
