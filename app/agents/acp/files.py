"""Text files that an agent reads and writes through us: those of its workspace, and no others."""

import asyncio
import errno
import io
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from acp import RequestError, schema

MAX_BYTES = 8 * 1024 * 1024

_OPENING = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _OPENING
_INVALID_PARAMS = -32602
_NOT_FOUND = -32002
_INTERNAL = -32603


class Files:
    """The methods `fs/*` of one session's client; an agent that asks for too much is refused, not served a part."""

    def __init__(self, workspace: Path) -> None:
        self._root = workspace.resolve()

    async def read_text_file(
        self, session_id: str, path: str, line: int | None = None, limit: int | None = None
    ) -> schema.ReadTextFileResponse:
        """The text from `line` (the first is 1) on, at most `limit` lines."""
        del session_id
        return schema.ReadTextFileResponse(content=await asyncio.to_thread(_read, self._root, path, line, limit))

    async def write_text_file(self, session_id: str, path: str, content: str) -> schema.WriteTextFileResponse:
        """Replace the file's text, or make the file and the directories that lead to it."""
        del session_id
        await asyncio.to_thread(_write, self._root, path, content.encode())
        return schema.WriteTextFileResponse()


def inside(root: Path, path: str) -> Path:
    """The place that an absolute path leads to once its links are followed; refused if that is not below `root`."""
    with _refusals():
        real = Path(os.path.realpath(path))
    if not Path(path).is_absolute() or not real.is_relative_to(root):
        raise RequestError(_INVALID_PARAMS, "The path must be absolute and lie in the workspace")
    return real


def _read(root: Path, path: str, line: int | None, limit: int | None) -> str:
    with _opened(root, path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise RequestError(_INVALID_PARAMS, "The file is too large")
    start = min(max(line or 1, 1) - 1, MAX_BYTES)
    chosen = itertools.islice(io.BytesIO(content), start, start + min(limit, MAX_BYTES) if limit is not None else None)
    try:
        return b"".join(chosen).decode()
    except UnicodeDecodeError as error:
        raise RequestError(_INVALID_PARAMS, "The file is not UTF-8 text") from error


def _write(root: Path, path: str, content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise RequestError(_INVALID_PARAMS, "The text is too large")
    with _opened(root, path, "wb") as file:
        file.truncate()
        file.write(content)


@contextmanager
def _opened(root: Path, path: str, mode: Literal["rb", "wb"]) -> Iterator[BinaryIO]:
    """A regular file below `root`, reached by its real directories one after another; "wb" does not empty it.

    So a link that takes the place of one of them meanwhile leads to an error, not out of the workspace.
    """
    *parents, name = inside(root, path).relative_to(root).parts or (".",)
    flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_CREAT
    with _refusals(), ExitStack() as stack:
        directory = os.open(root, _DIRECTORY)
        stack.callback(os.close, directory)
        for parent in parents:
            if mode == "wb":
                with suppress(FileExistsError):
                    os.mkdir(parent, dir_fd=directory)
            directory = os.open(parent, _DIRECTORY, dir_fd=directory)
            stack.callback(os.close, directory)
        descriptor = os.open(name, flags | _OPENING, 0o666, dir_fd=directory)
        stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RequestError(_INVALID_PARAMS, "The path must be that of a regular file")
        yield stack.enter_context(os.fdopen(descriptor, mode, closefd=False))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = _NOT_FOUND if error.errno == errno.ENOENT else _INTERNAL
        raise RequestError(code, os.strerror(error.errno or errno.EIO)) from error
    except ValueError as error:  # a NUL, or half a surrogate pair
        raise RequestError(_INVALID_PARAMS, "The path is not valid") from error
