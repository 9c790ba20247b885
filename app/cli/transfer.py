"""Bytes of a workspace on their way to a file, to standard output or to the terminal, and back."""

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import requests

from app.cli.api import ApiClient, CliError, ConnectionLost
from app.cli.terminal import Screen, visible

CHUNK_BYTES = 65536
STDIN = "-"

Write = Callable[[bytes], object]


def chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of an open response. Raises `ConnectionLost` where it breaks."""
    try:
        with response:
            yield from response.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise ConnectionLost("The connection was lost before the end.", retryable=True) from error


def lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of a text that comes in parts, without the line breaks at their ends."""
    rest_of_line = b""
    for part in parts:
        *whole, rest_of_line = (rest_of_line + part).split(b"\n")
        yield from whole
    if rest_of_line:
        yield rest_of_line


def download_file(client: ApiClient, session_id: str, query: dict[str, str], write: Write) -> None:
    """Write a file of a workspace, resumed after a lost connection while the file is still the same."""
    path = ("sessions", session_id, "workspace", "file")
    response, passed = client.download(*path, query=query), 0
    while True:
        etag, before = response.headers.get("ETag", ""), passed
        try:
            for chunk in chunks(response):
                write(chunk)
                passed += len(chunk)
        except ConnectionLost:
            if not etag or passed == before:
                raise
        else:
            return
        client.report_loss()
        response = client.download(*path, query=query, headers={"Range": f"bytes={passed}-", "If-Range": etag})
        if response.status_code != requests.codes.partial_content:
            response.close()
            raise CliError("The file has changed while it was read; try again.")


@contextmanager
def open_output(target: Path, name: str, *, replace: bool) -> Iterator[Write]:
    """Yield what writes a file, which is complete once the block has ended without an error, and as before otherwise.

    In a directory it is the file `name`. Raises `CliError` if it exists, unless with `replace`, or cannot be written.
    """
    try:
        target = target / name if target.is_dir() else target
        if target.exists() and not target.is_file():  # a device or a pipe
            with target.open("wb") as file:
                yield file.write
            return
        if not replace:
            target.touch(exist_ok=False)
        with _removed_on_error(target, is_ours=not replace):
            target = target.resolve()
            scratch = target.with_name(f".{target.name[:200]}-{os.getpid()}")
            with _removed_on_error(scratch, is_ours=True):
                with scratch.open("xb") as file:
                    yield file.write
                scratch.replace(target)
    except FileExistsError as error:
        raise CliError(f"{visible(str(target))} exists already; --force replaces it.") from error
    except OSError as error:
        raise CliError(f"{visible(str(target))} cannot be written: {error.strerror}.") from error


@contextmanager
def open_input(name: str) -> Iterator[IO[bytes] | Iterator[bytes]]:
    """Yield a file, or the bytes of a pipe or of standard input (`-`). Raises `CliError` if it cannot be read."""
    if name == STDIN:
        yield _read(sys.stdin.buffer)
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below, where other errors are not of the file
    except OSError as error:
        raise CliError(f"{visible(name)} cannot be read: {error.strerror}.") from error
    with file:
        yield file if Path(name).is_file() else _read(file)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


@contextmanager
def open_standard_output(screen: Screen) -> Iterator[Write]:
    """Yield what writes to standard output: bytes as they are, on a terminal text with its control characters escaped.

    Raises `CliError` for bytes on a terminal that are no text.
    """
    if not screen.is_terminal:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(chunk: bytes) -> None:
        if b"\0" in chunk:
            raise CliError("The file is no text; name a file for it with --output.")
        screen.write(visible(decoder.decode(chunk)))

    yield write
    screen.write(visible(decoder.decode(b"", final=True)))


@contextmanager
def _removed_on_error(file: Path, *, is_ours: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if is_ours:
            file.unlink(missing_ok=True)
        raise
