"""Gitlinks, a repository's entries for submodules: kept out of an index while git looks at the files.

In a directory for which an index has a gitlink, `git add` runs `git status`, with the configuration of the repository
that is there, and so its filters. Without the entry git looks no further than at that repository's HEAD.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_GITLINK = b"160000 "
_NO_ENTRY = b"0 %b" % (b"0" * 40)


class RunGit(Protocol):
    """Git with one index."""

    async def __call__(self, *command: str, input: bytes = b"") -> bytes:  # noqa: A002 - as subprocess has it
        """Run a command and return its standard output."""


async def set_aside(git: RunGit) -> dict[bytes, bytes]:
    """Remove the gitlinks from the index; return mode and commit of each by its path."""
    listed = await git("ls-files", "-z", "--stage")
    if _GITLINK not in listed:
        return {}
    entries = (entry.partition(b"\t") for entry in listed.split(b"\0")[:-1] if entry.startswith(_GITLINK))
    links = {path: b" ".join(info.split()[:2]) for info, _, path in entries}
    await _set(git, dict.fromkeys(links, _NO_ENTRY))
    return links


async def put_back(git: RunGit, links: Mapping[bytes, bytes], work_tree: Path) -> None:
    """Put those back where there still is a directory."""
    top = os.fsencode(work_tree)
    await _set(git, {path: entry for path, entry in links.items() if _is_directory(top + b"/" + path)})


async def _set(git: RunGit, entries: Mapping[bytes, bytes]) -> None:
    if entries:
        lines = b"".join(b"%b\t%b\0" % (entry, path) for path, entry in entries.items())
        await git("update-index", "-z", "--index-info", input=lines)


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
