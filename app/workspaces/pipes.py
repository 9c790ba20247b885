"""Pipes in a workspace at which git would wait without end: it opens some files by their names, whatever they are."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.errors import WrongFileType
from app.workspace_paths import public_path
from app.workspaces.paths import is_git

_READ = frozenset({b".gitattributes", b".gitignore", b".gitmodules"})
_READ_IN_REPOSITORIES = frozenset({b"HEAD", b"commondir", b"config", b"index", b"packed-refs"})
"""Of repositories that may have any name, if a file `.git` leads to them."""


def check_pipes(root: Path) -> None:
    """Raise `WrongFileType`, which names it, if there is a pipe at which git would wait."""
    for path in find_pipes(root):
        name = public_path(path)[0]
        raise WrongFileType(f"The workspace has a pipe at {name}, for which git would wait without end; remove it.")


def find_pipes(root: Path) -> Iterator[bytes]:
    """Yield the paths of pipes, and of links to some, at which git would wait."""
    top = os.fsencode(root)
    pending = [(b"", False)]
    while pending:
        directory, is_gits = pending.pop()
        with suppress(OSError), os.scandir(top + b"/" + directory) as entries:
            for entry in entries:
                path = directory + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append((path + b"/", is_gits or is_git(entry.name)))
                elif (
                    (is_gits or entry.name in _READ or entry.name in _READ_IN_REPOSITORIES)
                    and not entry.is_file(follow_symlinks=False)
                    and _is_pipe(entry.path)
                ):
                    yield path


def _is_pipe(path: bytes) -> bool:
    with suppress(OSError):
        mode = os.stat(path).st_mode  # noqa: PTH116 - bytes
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False
