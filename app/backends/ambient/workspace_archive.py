"""The files of a platform session as an archive, which is put together here: one request for each file."""

import asyncio
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, closing

from app.backends.ambient.workspace_files import MAX_READ, Entry, PlatformFiles
from app.backends.ambient.workspace_listing import Walk
from app.errors import FileChanged, NotSupported, WorkspaceFileNotFound, WrongFileType
from app.models.workspaces import ArchiveFormat
from app.results import FileContent, StreamedBody
from app.workspaces.archive_writer import ArchiveWriter, archive_writer
from app.workspaces.threads import in_thread

MAX_ENTRIES = 5_000
"""Files and directories of one archive, each of which takes requests to the platform."""

_AT_ONCE = 8
_DIRECTORY, _FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644  # the platform does not tell modes
_TOO_LARGE = (
    f"The platform hands out one file at a time, so an archive has at most {MAX_ENTRIES:,} files and directories, each "
    f"of at most {MAX_READ >> 20} MiB, all of which it must be able to list; get the directories in it one by one."
)

Read = Callable[[PlatformFiles, str], Awaitable[FileContent]]


def archive(files: PlatformFiles, path: str, format: ArchiveFormat, name: str, read: Read) -> StreamedBody:
    """Return the contents of a directory as an archive that is called after `name`.

    A file is what a link leads to, and modes are not known. Files that vanish meanwhile or cannot be read are left out.
    Raises `NotSupported` for more than the platform can be asked for, and `FileChanged` if a large file changes while
    it is read.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        entries = await _find_all(files, path)
        with closing(archive_writer(format)) as writer:
            for start in range(0, len(entries), _AT_ONCE):
                batch = entries[start : start + _AT_ONCE]
                contents = await asyncio.gather(*(_read(files, found, entry, read) for found, entry in batch))
                for (found, entry), content in zip(batch, contents, strict=True):
                    member = found.removeprefix(path).lstrip("/").encode()
                    async with aclosing(_add(writer, member, entry, content)) as written:
                        async for chunk in written:
                            yield chunk
            yield writer.end()

    return StreamedBody(chunks(), f"{name}.{format}")


async def _find_all(files: PlatformFiles, path: str) -> list[tuple[str, Entry]]:
    walk = Walk(files, path, depth=None, limit=MAX_ENTRIES)
    found: list[tuple[str, Entry]] = []
    async with aclosing(walk.directories()) as directories:
        async for entries in directories:
            found += entries
    if walk.truncated or any(entry.size > MAX_READ for _, entry in found if not entry.is_directory):
        raise NotSupported(_TOO_LARGE)
    return found


async def _read(files: PlatformFiles, path: str, entry: Entry, read: Read) -> FileContent | None:
    if entry.is_directory:
        return None
    try:
        return await read(files, path)
    except (WorkspaceFileNotFound, WrongFileType, FileChanged):
        return None


async def _add(
    writer: ArchiveWriter, name: bytes, entry: Entry, content: FileContent | None
) -> AsyncGenerator[bytes, None]:
    """Add a directory or a file, and yield what has been written so far if it is enough."""
    mtime = (entry.modified_at or 0) / 1000
    if entry.is_directory:
        writer.add_directory(name, _DIRECTORY, mtime)
    elif content:
        writer.begin_file(name, _FILE, mtime, content.size)
        async with aclosing(content.read(0, content.size)) as pieces:
            async for piece in pieces:
                await in_thread(writer.write, piece)
                if ready := writer.take():
                    yield ready
        writer.end_file()
    if ready := writer.take():
        yield ready
