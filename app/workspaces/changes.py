"""How a workspace differs from its beginning: as a list of files, and as a patch."""

import os
from collections.abc import Iterator
from operator import itemgetter

import msgspec

from app.errors import WorkspaceFileNotFound
from app.models.workspaces import ChangeStatus, FileChange, WorkspaceDiff
from app.results import StreamedBody
from app.workspace_paths import public_path
from app.workspaces.states import EMPTY_TREE, Baseline, WorkspaceState, WorkspaceStates

_DIFF = ("diff-tree", "-r", "--find-renames", "--no-ext-diff", "--no-textconv", "--no-color")
_STATUSES = {
    b"A": ChangeStatus.ADDED,
    b"D": ChangeStatus.DELETED,
    b"M": ChangeStatus.MODIFIED,
    b"T": ChangeStatus.MODIFIED,
    b"R": ChangeStatus.RENAMED,
}
_NO_FILE = b"000000"
_LINK = b"120000"


class _Change(msgspec.Struct):
    """A change as git lists it: first its kind and modes, then its lines."""

    status: bytes
    old_mode: bytes
    mode: bytes
    old_path: bytes
    path: bytes
    additions: int | None = None
    deletions: int | None = None


async def diff(states: WorkspaceStates, path: bytes, *, limit: int) -> WorkspaceDiff:
    """Return the files below a directory that differ from the beginning, by path; a renamed one where it is now.

    Raises `WorkspaceFileNotFound` for a path that exists neither now nor at the beginning, `WorkspaceNotReady`,
    `BackendTimeout`, `NotSupported` where git is not installed.
    """
    baseline = await states.baseline()
    await _require(states, baseline, path)
    now = await states.take()
    output = await states.repository.run(*_DIFF, "-z", "--raw", "--numstat", baseline.tree, now.tree)
    changes = [(change.path, _public(change)) for change in _parse(output)]
    changes += [(path, _public_large(path, status)) for path, status in _large(baseline, now)]
    prefix = path + b"/" if path else b""
    files = [file for name, file in sorted(changes, key=itemgetter(0)) if (name + b"/").startswith(prefix)]
    return WorkspaceDiff(
        files=files[:limit],
        file_count=len(files),
        additions=sum(file.additions or 0 for file in files),
        deletions=sum(file.deletions or 0 for file in files),
        truncated=len(files) > limit,
        state=now.tree,
    )


PATCH = "changes.patch"
"""The name under which a patch is saved."""


async def patch(states: WorkspaceStates, path: bytes, state: str | None = None) -> StreamedBody:
    """Return the changes below a directory as a patch for `git apply`, to be applied in that directory.

    The patch of a file is to be applied in the file's directory. The changes are those of a `state` that `diff` has
    returned, or of the current one. Files that are too large are not in the patch. Raises as `diff`, and
    `WorkspaceFileNotFound` for a state that is none.
    """
    baseline = await states.baseline()
    await _require(states, baseline, path)
    tree = await states.require(state) if state else (await states.take()).tree
    is_file = path and b" blob " in await _entry(states, tree, path) + await _entry(states, baseline.tree, path)
    directory = path.rpartition(b"/")[0] if is_file else path
    relative = [f"--relative={os.fsdecode(directory)}/"] if directory else []
    only = ["--", f":(literal){os.fsdecode(path)}"] if is_file else []
    options = ["--patch", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/"]
    if await _is_directory_for_link(states, baseline.tree, tree):
        options.append("--no-renames")
    chunks = states.repository.stream(*_DIFF, *options, *relative, baseline.tree, tree, *only)
    return StreamedBody(chunks, PATCH)


async def _require(states: WorkspaceStates, baseline: Baseline, path: bytes) -> None:
    """Raise `WorkspaceFileNotFound` for a path that exists neither now nor at the beginning."""
    if not path or os.fsdecode(path) in baseline.large or await states.exists(path):
        return
    if baseline.tree == EMPTY_TREE or not await _entry(states, baseline.tree, path):
        raise WorkspaceFileNotFound


async def _entry(states: WorkspaceStates, tree: str, path: bytes) -> bytes:
    """Return the entry of a path in a tree, in git's words; empty if there is none."""
    return await states.repository.run("ls-tree", "--full-tree", "-z", tree, "--", os.fsdecode(path))


async def _is_directory_for_link(states: WorkspaceStates, before: str, after: str) -> bool:
    """Return whether a directory is where a link was.

    If that link has another name now, git does not apply a patch that says so, unless as a deletion and a new link.
    """
    changes = _parse(await states.repository.run(*_DIFF, "-z", "--raw", "--no-renames", before, after))
    links = tuple(change.path + b"/" for change in changes if (change.old_mode, change.mode) == (_LINK, _NO_FILE))
    return any(change.path.startswith(links) for change in changes)


def _parse(output: bytes) -> list[_Change]:
    """Return the changes of git's raw format, followed by numbers of lines, each part ended by a null byte."""
    parts = iter(output.split(b"\0")[:-1])
    changes: dict[bytes, _Change] = {}
    for part in parts:
        if part.startswith(b":"):
            old_mode, mode, _, _, status = part[1:].split(b" ")
            old_path = path = next(parts)
            if status[:1] == b"R":
                path = next(parts)
            changes[path] = _Change(status[:1], old_mode, mode, old_path, path)
        else:
            additions, deletions, path = part.split(b"\t", 2)
            if not path:
                next(parts)
                path = next(parts)
            if additions != b"-":
                changes[path].additions, changes[path].deletions = int(additions), int(deletions)
    return list(changes.values())


def _public(change: _Change) -> FileChange:
    path, path_base64 = public_path(change.path)
    old_path, old_path_base64 = public_path(change.old_path) if change.old_path != change.path else (None, None)
    return FileChange(
        path=path,
        path_base64=path_base64,
        status=_STATUSES.get(change.status, ChangeStatus.UNKNOWN),
        old_path=old_path,
        old_path_base64=old_path_base64,
        mode=change.mode.decode() if change.mode != _NO_FILE else None,
        old_mode=change.old_mode.decode() if change.old_mode not in {_NO_FILE, change.mode} else None,
        additions=change.additions,
        deletions=change.deletions,
        binary=change.additions is None,
    )


def _large(baseline: Baseline, now: WorkspaceState) -> Iterator[tuple[bytes, ChangeStatus]]:
    """Yield the files that are too large for a patch and differ from the beginning."""
    for path, state in now.large.items():
        if path in baseline.large or path in now.grown:
            if baseline.large.get(path) != state:
                yield os.fsencode(path), ChangeStatus.MODIFIED
        else:
            yield os.fsencode(path), ChangeStatus.ADDED
    for path in baseline.large.keys() - now.large.keys():
        yield os.fsencode(path), ChangeStatus.DELETED


def _public_large(path: bytes, status: ChangeStatus) -> FileChange:
    text, encoded = public_path(path)
    return FileChange(path=text, path_base64=encoded, status=status, binary=True, too_large=True)
