"""The demo agent's tools: list the workspace, write and delete its files."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from app.real_paths import is_real

MAX_ENTRIES = 100


def list_workspace(workspace: Path) -> tuple[list[str], bool]:
    """Return at most MAX_ENTRIES relative paths, sorted within each directory, and whether there are more.

    A directory ends in "/". Symbolic links are listed and not followed. The contents of `.git` are left out.
    """
    entries = list(itertools.islice(_entries(workspace), MAX_ENTRIES + 1))
    return entries[:MAX_ENTRIES], len(entries) > MAX_ENTRIES


def write_file(workspace: Path, name: str, text: str, *, append: bool = False) -> str:
    """Write a file of the workspace with the directories that it needs; return the result for the user."""
    try:
        file = (workspace / name).parent.resolve() / Path(name).name
        if not is_real(workspace) or not file.is_relative_to(workspace) or ".git" in file.parts or file.is_symlink():
            return "That is not a file in the workspace."
        existed = file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if append else "w", encoding="utf-8") as opened:
            opened.write(text)
    except (OSError, ValueError):
        return "The file cannot be written."
    return f"{'Changed' if existed else 'Wrote'} {name}."


def delete_file(workspace: Path, name: str) -> str:
    """Delete a file of the workspace and return the result for the user; a link itself is deleted, not its target."""
    try:
        file = (workspace / name).parent.resolve(strict=True) / Path(name).name
        if not is_real(workspace) or not file.is_relative_to(workspace) or not name:
            return "That is not a file in the workspace."
        file.unlink()
    except (OSError, ValueError):
        return "There is no such file."
    return f"Deleted {name}."


def _entries(workspace: Path) -> Iterator[str]:
    for directory, names, files in os.walk(workspace):
        names[:] = sorted(name for name in names if name != ".git")
        here = Path(directory)
        for name in names:
            entry = here / name
            yield _printable(entry.relative_to(workspace)) + ("" if entry.is_symlink() else "/")
        for name in sorted(files):
            yield _printable((here / name).relative_to(workspace))


def _printable(path: Path) -> str:
    """Return a path as text: not every file name is UTF-8, but JSON is."""
    return os.fsencode(path).decode("utf-8", "replace")
