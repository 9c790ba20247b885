"""Writing archives piece by piece: whoever has the files adds them, and takes away what has been written so far."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from datetime import UTC, datetime

from app.errors import WrongFileType
from app.models.workspaces import ArchiveFormat

CHUNK = 2**18
"""Bytes that are worth to be taken away."""

MAX_ZIP_ENTRIES = 200_000
"""Entries of a ZIP file, whose list comes last and is held in memory until then."""

_GZIP_LEVEL = 4
_FIRST_DAY, _LAST_YEAR = (1980, 1, 1, 0, 0, 0), 2107  # of a ZIP file


class _Sink(io.RawIOBase):
    """Where an archive is written to: what is there is taken away before more is written."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, content: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._written += content
        self._position += len(content)
        return len(content)

    def tell(self) -> int:
        return self._position

    def take(self, at_least: int) -> bytes | None:
        if len(self._written) < at_least:
            return None
        content = bytes(self._written)
        self._written.clear()
        return content


class ArchiveWriter(ABC):
    """An archive that is being written. Modes are those of `stat`, times are seconds since 1970, names are bytes."""

    def __init__(self) -> None:
        self._sink = _Sink()

    @abstractmethod
    def add_directory(self, name: bytes, mode: int, mtime: float) -> None:
        """Add a directory, before its contents."""

    @abstractmethod
    def add_link(self, name: bytes, mode: int, mtime: float, target: bytes) -> None:
        """Add a symbolic link."""

    @abstractmethod
    def begin_file(self, name: bytes, mode: int, mtime: float, size: int) -> None:
        """Begin a file, whose content, exactly of this size, is written next."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Write a part of the file's content."""

    @abstractmethod
    def end_file(self) -> None:
        """End the file."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. An archive that was not ended is of no use."""

    def take(self) -> bytes | None:
        """Return what has been written since the last time, if it is enough to be sent."""
        return self._sink.take(CHUNK)

    def end(self) -> bytes:
        """End the archive, and return the rest of it."""
        self.close()
        return self._sink.take(0) or b""


def archive_writer(format: ArchiveFormat) -> ArchiveWriter:
    """Return a writer of archives of this format."""
    return _TarWriter() if format is ArchiveFormat.TAR_GZ else _ZipWriter()


class _TarWriter(ArchiveWriter):
    def __init__(self) -> None:
        super().__init__()
        self._packed = gzip.GzipFile(fileobj=self._sink, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
        self._tar = tarfile.open(fileobj=self._packed, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see close
        self._size = 0

    def add_directory(self, name: bytes, mode: int, mtime: float) -> None:
        member = _tar_member(name, mode, mtime)
        member.type = tarfile.DIRTYPE
        self._add(member)

    def add_link(self, name: bytes, mode: int, mtime: float, target: bytes) -> None:
        member = _tar_member(name, mode, mtime)
        member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(target)
        self._add(member)

    def begin_file(self, name: bytes, mode: int, mtime: float, size: int) -> None:
        member = _tar_member(name, mode, mtime)
        member.size = self._size = size
        self._add(member)

    def _add(self, member: tarfile.TarInfo) -> None:
        self._tar.addfile(member)
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them

    def write(self, content: bytes) -> None:
        self._packed.write(content)

    def end_file(self) -> None:
        padding = -self._size % tarfile.BLOCKSIZE
        self._packed.write(bytes(padding))
        self._tar.offset += self._size + padding

    def close(self) -> None:
        self._tar.close()
        self._packed.close()


class _ZipWriter(ArchiveWriter):
    """A ZIP file of a Unix system, as zipfile writes it: with a backslash in a name like any character.

    Info-ZIP, `git archive` and Python keep it too. Unpackers that know Unix take it for a part of the name, and those
    of Windows have to look for `..` anyway. Any other name would be one that the workspace does not have.

    Names are UTF-8. Of a name that is none, each other byte is written as `\\xff`, so that two of them stay two.
    """

    def __init__(self) -> None:
        super().__init__()
        # Closed by `close`, like the file that is written.
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_GZIP_LEVEL)
        self._file: io.BufferedIOBase | None = None

    def add_directory(self, name: bytes, mode: int, mtime: float) -> None:
        self._zip.writestr(self._member(name + b"/", mode, mtime), b"", zipfile.ZIP_STORED)

    def add_link(self, name: bytes, mode: int, mtime: float, target: bytes) -> None:
        self._zip.writestr(self._member(name, mode, mtime), target)

    def begin_file(self, name: bytes, mode: int, mtime: float, size: int) -> None:  # noqa: ARG002 - it is counted
        self._file = self._zip.open(self._member(name, mode, mtime), "w", force_zip64=True)  # type: ignore[assignment]

    def _member(self, name: bytes, mode: int, mtime: float) -> zipfile.ZipInfo:
        if len(self._zip.filelist) >= MAX_ZIP_ENTRIES:
            raise WrongFileType("The workspace has too many files for a ZIP file; get it as tar.gz.")
        return _zip_member(name, mode, mtime)

    def write(self, content: bytes) -> None:
        assert self._file  # noqa: S101 - begun
        self._file.write(content)

    def end_file(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self.end_file()
        self._zip.close()


def _tar_member(name: bytes, mode: int, mtime: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(os.fsdecode(name))
    member.mode = stat.S_IMODE(mode)
    member.mtime = mtime
    return member


def _zip_member(name: bytes, mode: int, mtime: float) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name.decode("utf-8", "backslashreplace"), _zip_time(mtime))
    member.external_attr = (mode & 0xFFFF) << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _zip_time(seconds: float) -> tuple[int, int, int, int, int, int]:
    when = datetime.fromtimestamp(max(0, min(seconds, 4e9)), UTC)
    if not _FIRST_DAY[0] <= when.year <= _LAST_YEAR:
        return _FIRST_DAY
    return when.year, when.month, when.day, when.hour, when.minute, when.second
