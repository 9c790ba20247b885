"""Text files that an agent reads and writes through us: those in its workspace, and no others."""

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

from app.real_paths import open_real

MAX_BYTES = 8 * 1024 * 1024

_OPEN_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | _OPEN_FLAGS
_INVALID_PARAMS = -32602
_NOT_FOUND = -32002
_INTERNAL = -32603


class Files:
    """The methods `fs/*` of one session's client; each raises `RequestError`, also if a file or text is too large."""

    def __init__(self, workspace: Path) -> None:
        self._root = workspace.absolute()

    async def read_text_file(
        self, session_id: str, path: str, line: int | None = None, limit: int | None = None
    ) -> schema.ReadTextFileResponse:
        """Return the text from `line` on (the first is 1), at most `limit` lines."""
        del session_id
        return schema.ReadTextFileResponse(content=await asyncio.to_thread(_read, self._root, path, line, limit))

    async def write_text_file(self, session_id: str, path: str, content: str) -> schema.WriteTextFileResponse:
        """Replace the file's text, or make the file and the missing directories above it."""
        del session_id
        await asyncio.to_thread(_write, self._root, path, content.encode())
        return schema.WriteTextFileResponse()


def resolve_inside(root: Path, path: str) -> Path:
    """Return an absolute path with its links followed; raise `RequestError` if that is not below `root`."""
    with _request_errors():
        real = Path(os.path.realpath(path))
    if not Path(path).is_absolute() or not real.is_relative_to(root):
        raise RequestError(_INVALID_PARAMS, "The path must be absolute and lie in the workspace")
    return real


def _read(root: Path, path: str, line: int | None, limit: int | None) -> str:
    with _open(root, path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise RequestError(_INVALID_PARAMS, "The file is too large")
    start = min(max(line or 1, 1) - 1, MAX_BYTES)
    stop = start + min(limit, MAX_BYTES) if limit is not None else None
    try:
        return b"".join(itertools.islice(io.BytesIO(content), start, stop)).decode()
    except UnicodeDecodeError as error:
        raise RequestError(_INVALID_PARAMS, "The file is not UTF-8 text") from error


def _write(root: Path, path: str, content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise RequestError(_INVALID_PARAMS, "The text is too large")
    with _open(root, path, "wb") as file:
        file.truncate()
        file.write(content)


@contextmanager
def _open(root: Path, path: str, mode: Literal["rb", "wb"]) -> Iterator[BinaryIO]:
    """Open a regular file below `root`; "wb" makes it if need be, and does not truncate it.

    Its real directories are opened one after another without following links. So if the agent replaces one of them by a
    link after the path was checked, the result is an error and not a file outside of the workspace.
    """
    *parents, name = resolve_inside(root, path).relative_to(root).parts or (".",)
    flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_CREAT
    with _request_errors(), ExitStack() as stack:
        directory = open_real(root)
        stack.callback(os.close, directory)
        for parent in parents:
            if mode == "wb":
                with suppress(FileExistsError):
                    os.mkdir(parent, dir_fd=directory)
            directory = os.open(parent, _DIRECTORY_FLAGS, dir_fd=directory)
            stack.callback(os.close, directory)
        descriptor = os.open(name, flags | _OPEN_FLAGS, 0o666, dir_fd=directory)
        stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RequestError(_INVALID_PARAMS, "The path must be that of a regular file")
        yield stack.enter_context(os.fdopen(descriptor, mode, closefd=False))


@contextmanager
def _request_errors() -> Iterator[None]:
    """Raise what the system says of a path as a `RequestError`."""
    try:
        yield
    except OSError as error:
        code = _NOT_FOUND if error.errno == errno.ENOENT else _INTERNAL
        raise RequestError(code, os.strerror(error.errno or errno.EIO)) from error
    except ValueError as error:  # a NUL, or half a surrogate pair
        raise RequestError(_INVALID_PARAMS, "The path is not valid") from error
