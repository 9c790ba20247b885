"""A session's own directory: its repositories and its workflow are cloned into it, and it is removed as a whole."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.engine.repositories import WORKFLOW, Source, problems, sources
from app.git import remote as git
from app.git.access import GitAccess
from app.models.sessions import SessionCreate
from app.workspaces.removal import remove_tree

_UNFINISHED = ".cloning-"


class WorkspaceError(Exception):
    """A workspace could not be made or removed; the message is safe to show to clients."""


async def provision(
    directory: Path,
    new: SessionCreate,
    *,
    access: GitAccess,
    limits: git.Limits = git.LIMITS,
    log: Callable[[str], None] = lambda _text: None,
) -> None:
    """Make the workspace or complete it: each repository in the directory of its name, the workflow in WORKFLOW.

    Directories that exist already are not touched. `log` gets a line for each clone, and git's error output. Cancelling
    ends the clone at once. `WorkspaceError`.
    """
    if problem := next(problems(new, access.protocols), None):
        raise WorkspaceError(f"{problem.location.removeprefix('body.')} {problem.message}.")
    deadline = asyncio.get_running_loop().time() + limits.seconds
    with _os_errors("made"):
        await asyncio.to_thread(_make, directory)
        for source in await asyncio.to_thread(_missing, directory, new):
            try:
                async with asyncio.timeout_at(deadline):
                    await _clone(source, directory, access, limits.bytes, log)
            except git.CloneFailed as error:
                raise WorkspaceError(f"{source.title} could not be cloned: {error}.") from error
            except TimeoutError as error:
                raise WorkspaceError(f"{source.title} could not be cloned: it took too long.") from error
        if workflow := new.active_workflow:
            await asyncio.to_thread(_check_path, directory / WORKFLOW, workflow.path)


async def delete(directory: Path) -> None:
    """Remove the workspace, read-only directories included, without following symbolic links; `WorkspaceError`."""
    with _os_errors("removed"):
        await asyncio.to_thread(remove_tree, directory)


def _missing(directory: Path, new: SessionCreate) -> list[Source]:
    return [source for source in sources(new) if not os.path.lexists(directory / source.name)]


async def _clone(
    source: Source, directory: Path, access: GitAccess, max_bytes: int, log: Callable[[str], None]
) -> None:
    """Clone into a scratch directory of the workspace, and move the repository into place when it is complete."""
    # Not in a thread: a directory whose making is cancelled would be left over.
    scratch = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=directory))
    try:
        clone = scratch / source.name

        def log_with_final_name(text: str) -> None:
            log(text.replace(str(clone.absolute()), source.name))

        log(f"cloning {source.url} ({source.branch or 'its default branch'}) as {source.name}")
        await git.clone(source.url, source.branch, clone, access=access, max_bytes=max_bytes, log=log_with_final_name)
        clone.rename(directory / source.name)
    finally:
        await asyncio.to_thread(remove_tree, scratch)


def _check_path(root: Path, path: str | None) -> None:
    """Raise `WorkspaceError` unless `path` exists below `root`, where a symbolic link may lead out of it."""
    try:
        inside = (root / (path or ".")).resolve(strict=True).is_relative_to(root.parent.resolve() / root.name)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        inside = False
    if not inside:
        raise WorkspaceError("The workflow's repository does not have the given path.")


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in directory.glob(f"{_UNFINISHED}*"):
        remove_tree(leftover)


@contextmanager
def _os_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceError(f"The workspace could not be {action}.") from error
