"""Archives of workspaces, which the real tar and unzip libraries read."""

import io
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from app.errors import FileChanged, WorkspaceFileNotFound, WrongFileType
from app.models.workspaces import ArchiveFormat
from app.workspaces import archive_writer
from app.workspaces.archive import _WHOLE, archive
from app.workspaces.archive_writer import CHUNK
from tests.support.processes import open_below

BOTH = pytest.mark.parametrize("format", list(ArchiveFormat))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "docs" / "empty").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").touch()
    (root / "docs" / "guide ü.md").write_text("A guide")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo")
    return root


async def made(root: Path, format: ArchiveFormat, path: bytes = b"") -> bytes:
    return b"".join([chunk async for chunk in archive(root, path, format, "s1").chunks])


def members(content: bytes, format: ArchiveFormat) -> dict[str, bytes | None]:
    """Contents of files, None for directories, and targets of links after an arrow."""
    if format is ArchiveFormat.ZIP:
        packed = zipfile.ZipFile(io.BytesIO(content))
        assert packed.testzip() is None
        found: dict[str, bytes | None] = {}
        for info in packed.infolist():
            is_link = (info.external_attr >> 28) == 0o12
            found[info.filename.rstrip("/")] = None if info.is_dir() else b"-> " * is_link + packed.read(info)
        return found
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        found = {}
        for member in tar:
            found[member.name] = f"-> {member.linkname}".encode() if member.issym() else None
            if file := tar.extractfile(member) if member.isreg() else None:
                found[member.name] = file.read()
        return found


@BOTH
async def test_an_archive_has_the_files_of_the_list(root: Path, format: ArchiveFormat) -> None:
    assert members(await made(root, format), format) == {
        "docs": None,
        "docs/empty": None,
        "docs/guide ü.md": b"A guide",
        "link": b"-> /etc/passwd",
        "run.sh": b"#!/bin/sh\n",
    }


@BOTH
async def test_a_directory_can_be_chosen_and_must_be_there(root: Path, format: ArchiveFormat) -> None:
    assert set(members(await made(root, format, b"docs"), format)) == {"empty", "guide ü.md"}
    assert members(await made(root, format, b"docs/empty"), format) == {}
    with pytest.raises(WorkspaceFileNotFound):
        await made(root, format, b"none")
    with pytest.raises(WrongFileType):
        await made(root, format, b"run.sh")


async def test_modes_and_times_are_those_of_the_files(root: Path) -> None:
    os.utime(root / "run.sh", (1_000_000_000, 1_000_000_000))
    with tarfile.open(fileobj=io.BytesIO(await made(root, ArchiveFormat.TAR_GZ)), mode="r:gz") as tar:
        member = tar.getmember("run.sh")
        assert (member.mode, member.mtime) == (0o755, 1_000_000_000)
    info = zipfile.ZipFile(io.BytesIO(await made(root, ArchiveFormat.ZIP))).getinfo("run.sh")
    assert ((info.external_attr >> 16) & 0o7777, info.date_time) == (0o755, (2001, 9, 9, 1, 46, 40))


@BOTH
@pytest.mark.parametrize("seconds", [-1, 0, 2**40])
async def test_a_time_that_a_format_has_not_is_no_obstacle(root: Path, format: ArchiveFormat, seconds: int) -> None:
    os.utime(root / "run.sh", (seconds, seconds))
    assert "run.sh" in members(await made(root, format), format)


@BOTH
async def test_a_name_may_have_any_bytes(root: Path, format: ArchiveFormat) -> None:
    names = b"\xff", b"\xfe", "ü\\xfd".encode()
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    found = members(await made(root, format), format)
    if format is ArchiveFormat.TAR_GZ:
        assert [found[os.fsdecode(name)] for name in names] == [*names]
    else:
        assert [found[name] for name in ("\\xff", "\\xfe", "ü\\xfd")] == [*names]


@BOTH
@pytest.mark.parametrize("name", ["..\\..\\x", "C:\\x", "CON", "a\nb"])
async def test_a_name_that_means_more_elsewhere_is_kept(root: Path, format: ArchiveFormat, name: str) -> None:
    (root / name).write_text("odd")
    content = await made(root, format)
    assert members(content, format)[name] == b"odd"
    if format is ArchiveFormat.ZIP:
        unix = 3
        assert zipfile.ZipFile(io.BytesIO(content)).getinfo(name).create_system == unix


@BOTH
async def test_large_files_are_sent_while_they_are_read(root: Path, format: ArchiveFormat) -> None:
    data = os.urandom(_WHOLE * 4)
    (root / "large").write_bytes(data)
    chunks = [chunk async for chunk in archive(root, b"", format, "s1").chunks]
    assert max(map(len, chunks)) < CHUNK * 2
    assert members(b"".join(chunks), format)["large"] == data


async def test_a_large_file_that_shrinks_ends_the_archive(root: Path) -> None:
    (root / "docs" / "large").write_bytes(os.urandom(_WHOLE * 4))
    chunks = archive(root, b"", ArchiveFormat.TAR_GZ, "s1").chunks
    await anext(chunks)
    os.truncate(root / "docs" / "large", _WHOLE)
    with pytest.raises(FileChanged):
        async for _ in chunks:
            pass


@BOTH
async def test_a_reader_who_leaves_closes_the_files(root: Path, format: ArchiveFormat) -> None:
    (root / "docs" / "large").write_bytes(os.urandom(_WHOLE * 4))
    chunks = archive(root, b"", format, "s1").chunks
    await anext(chunks)
    await chunks.aclose()
    assert open_below(root) == []


async def test_a_directory_of_many_files_takes_little_memory(root: Path) -> None:
    (root / "many").mkdir()
    for number in range(3000):
        (root / "many" / f"{number}").touch()
    tracemalloc.start()
    try:
        assert len([chunk async for chunk in archive(root, b"", ArchiveFormat.TAR_GZ, "all").chunks]) > 0
        assert tracemalloc.get_traced_memory()[1] < 2_500_000  # a list of all entries would take two million more
    finally:
        tracemalloc.stop()


async def test_a_zip_file_has_so_many_entries(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their list comes last, and is held in memory until then."""
    monkeypatch.setattr(archive_writer, "MAX_ZIP_ENTRIES", 3)
    (root / "few").mkdir()
    for name in "abc":
        (root / "few" / name).touch()
    assert [chunk async for chunk in archive(root, b"few", ArchiveFormat.ZIP, "all").chunks]
    (root / "few" / "d").touch()
    with pytest.raises(WrongFileType):
        assert [chunk async for chunk in archive(root, b"few", ArchiveFormat.ZIP, "all").chunks]
