"""Files that clients attach, as they are saved in a workspace: each by its content, where git ignores them."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Protocol

from app.results import FileWritten

DIRECTORY = ".ambient"
"""The directory of a workspace that holds what the server has saved."""


class Writable(Protocol):
    """A workspace that files are written to."""

    async def write_file(self, path: bytes, content: AsyncIterable[bytes]) -> FileWritten:
        """Write a file; the errors of `app.workspaces.files`."""


def path_of(content: bytes, name: str) -> str:
    """Return the path of a file with this content and name; it is no other file's."""
    return f"{DIRECTORY}/attachments/{hashlib.sha256(content).hexdigest()[:16]}/{name}"


async def save(workspace: Writable, files: Mapping[str, bytes]) -> None:
    """Write files, which are given by their paths; the errors of `write_file`."""
    await workspace.write_file(f"{DIRECTORY}/.gitignore".encode(), _chunks(b"*\n"))
    for path, content in files.items():
        await workspace.write_file(path.encode(), _chunks(content))


async def _chunks(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
