"""Files of a workspace: listed, read and written safely, whatever their names and what happens to them meanwhile."""

import asyncio
import base64
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import (
    FileChanged,
    PayloadTooLarge,
    StorageFull,
    WorkspaceFileNotFound,
    WorkspaceNotReady,
    WrongFileType,
)
from app.models.workspaces import WorkspaceFiles
from app.workspace_paths import parse_path
from app.workspaces.files import CHUNK, read_file, write_file
from app.workspaces.listing import list_files
from app.workspaces.paths import MAX_DEPTH
from tests.support.processes import open_below
from tests.support.repositories import names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace beside a file that is none of its business."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "workspace"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "guide.md").write_text("A guide")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]")
    return root


async def listed(root: Path, path: bytes = b"", *, depth: int | None = None, limit: int = 1000) -> WorkspaceFiles:
    content = b"".join([chunk async for chunk in list_files(root, path, depth=depth, limit=limit).chunks])
    return msgspec.json.decode(content, type=WorkspaceFiles)


async def paths(root: Path, path: bytes = b"", **options: Any) -> list[str]:
    return [item.path for item in (await listed(root, path, **options)).items]


async def content(root: Path, path: bytes) -> bytes:
    file = await read_file(root, path)
    return b"".join([chunk async for chunk in file.read(0, file.size)])


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def write(root: Path, path: bytes, *parts: bytes) -> str:
    return (await write_file(root, path, chunks(*parts), root.parent / "staging")).etag


class TestPaths:
    @pytest.mark.parametrize(
        ("given", "expected"), [(None, b""), ("", b""), (".", b""), ("a//b/", b"a/b"), ("./ü", "ü".encode())]
    )
    def test_a_path_is_relative_to_the_workspace(self, given: str | None, expected: bytes) -> None:
        assert parse_path(given) == expected

    @pytest.mark.parametrize("given", ["/etc", "..", "a/../b", "a\0", "a/" * 200, "x" * 5000])
    def test_any_other_path_is_not_found(self, given: str) -> None:
        with pytest.raises(WorkspaceFileNotFound):
            parse_path(given)

    def test_the_bytes_of_a_name_are_given_in_base64(self) -> None:
        encoded = base64.urlsafe_b64encode(b"\xff\xfe/a").decode()
        assert parse_path(None, encoded) == parse_path("something like it", encoded.rstrip("=")) == b"\xff\xfe/a"
        with pytest.raises(WorkspaceFileNotFound):
            parse_path(None, base64.urlsafe_b64encode(b"../x").decode())


HOSTILE = {
    "an absolute link": "{root}/../secret",
    "a relative link": "../secret",
    "a link through a link": "up/secret",
    "a link by way of a directory": "docs/../../secret",
    "a link to git's own": ".git/config",
    "a link in a circle": "x",
    "a link to nothing": "nothing",
}


def make_special(root: Path, kind: str) -> None:
    match kind:
        case "FIFO":
            os.mkfifo(root / "x")
        case "directory":
            (root / "x").mkdir()
        case "link to a directory":
            (root / "x").symlink_to("docs")


class TestReading:
    async def test_a_file_is_read_with_its_size(self, root: Path) -> None:
        file = await read_file(root, b"docs/guide.md")
        assert (file.size, await content(root, b"docs/guide.md")) == (7, b"A guide")
        assert b"".join([chunk async for chunk in file.read(2, 5)]) == b"gui"

    async def test_a_large_file_is_read_in_pieces(self, root: Path) -> None:
        data = os.urandom(CHUNK * 2 + 5)
        (root / "large").write_bytes(data)
        file = await read_file(root, b"large")
        read = [chunk async for chunk in file.read(0, file.size)]
        assert (b"".join(read), [len(chunk) for chunk in read]) == (data, [CHUNK, CHUNK, 5])

    @pytest.mark.parametrize("target", ["docs/guide.md", "./docs/../docs//guide.md", "{root}/docs/guide.md", "again"])
    async def test_a_link_within_the_workspace_is_followed(self, root: Path, target: str) -> None:
        (root / "again").symlink_to("docs/guide.md")
        (root / "link").symlink_to(target.format(root=root))
        assert await content(root, b"link") == b"A guide"

    @pytest.mark.parametrize("target", HOSTILE.values(), ids=HOSTILE)
    async def test_nothing_outside_is_read(self, root: Path, target: str) -> None:
        (root / "up").symlink_to("..")
        (root / "x").symlink_to(target.format(root=root))
        with pytest.raises(WorkspaceFileNotFound):
            await read_file(root, b"x")

    @pytest.mark.parametrize("path", [b".git/config", b".GIT/config", b"docs/guide.md/more", b"none/x", b"x" * 300])
    async def test_a_path_to_nothing_is_not_found(self, root: Path, path: bytes) -> None:
        with pytest.raises((WorkspaceFileNotFound, WrongFileType)):
            await read_file(root, path)

    @pytest.mark.parametrize("kind", ["FIFO", "directory", "link to a directory"])
    async def test_only_regular_files_are_read(self, root: Path, kind: str) -> None:
        make_special(root, kind)
        with pytest.raises(WrongFileType):
            await asyncio.wait_for(read_file(root, b"x"), 10)

    async def test_a_name_may_have_any_bytes(self, root: Path) -> None:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).write_text("odd")
        assert await content(root, b"\xff\n") == b"odd"

    async def test_the_tag_changes_with_the_content(self, root: Path) -> None:
        before = (await read_file(root, b"docs/guide.md")).etag
        assert (await read_file(root, b"docs/guide.md")).etag == before
        (root / "docs" / "guide.md").write_text("a Guide")
        assert (await read_file(root, b"docs/guide.md")).etag != before

    @pytest.mark.parametrize("change", ["replaced", "truncated", "overwritten", "removed", "a link"])
    async def test_a_file_that_changes_meanwhile_is_never_mixed(self, root: Path, change: str) -> None:
        path = root / "large"
        path.write_bytes(b"a" * CHUNK * 2)
        file = await read_file(root, b"large")
        reading = file.read(0, file.size)
        assert await anext(reading) == b"a" * CHUNK
        match change:
            case "replaced":
                (root / "new").write_bytes(b"b" * CHUNK * 2)
                (root / "new").rename(path)
            case "truncated":
                os.truncate(path, CHUNK)
            case "overwritten":
                path.write_bytes(b"b" * CHUNK * 2)
            case _:
                path.unlink()
        if change == "a link":
            path.symlink_to(root.parent / "secret")
        with pytest.raises((FileChanged, WorkspaceFileNotFound)):
            await anext(reading)

    async def test_a_file_that_only_grows_is_read_as_long_as_it_was(self, root: Path) -> None:
        path = root / "log"
        path.write_bytes(b"a" * (CHUNK + 1))
        file = await read_file(root, b"log")
        reading = file.read(0, file.size)
        await anext(reading)
        with path.open("ab") as log:
            log.write(b"more")
        assert [chunk async for chunk in reading] == [b"a"]

    async def test_a_session_without_a_workspace_is_not_ready(self, tmp_path: Path) -> None:
        with pytest.raises(WorkspaceNotReady):
            await read_file(tmp_path / "none", b"x")
        (tmp_path / "link").symlink_to("/")
        with pytest.raises(WorkspaceNotReady):
            await read_file(tmp_path / "link", b"etc/passwd")

    async def test_no_file_descriptor_is_left_open(self, root: Path) -> None:
        (root / "up").symlink_to("docs/../docs")
        for path in (b"docs/guide.md", b"up/guide.md", b"none/none", b"docs", b".git/config"):
            try:
                await content(root, path)
            except (WorkspaceFileNotFound, WrongFileType):
                continue
        await write(root, b"new/file", b"x")
        await listed(root)
        assert open_below(root) == []


class TestWriting:
    async def test_a_file_is_written_with_the_directories_that_it_needs(self, root: Path) -> None:
        tag = await write(root, b"in/put/data.bin", b"one", b"two")
        assert (root / "in/put/data.bin").read_bytes() == b"onetwo"
        assert (await read_file(root, b"in/put/data.bin")).etag == tag
        assert list((root.parent / "staging").iterdir()) == []

    async def test_a_large_body_is_written_whole(self, root: Path) -> None:
        parts = [os.urandom(70_000) for _ in range(40)]
        await write(root, b"large", *parts)
        assert (root / "large").read_bytes() == b"".join(parts)

    async def test_a_file_that_is_replaced_has_the_mode_it_had(self, root: Path) -> None:
        (root / "run.sh").write_text("old")
        (root / "run.sh").chmod(0o750)
        await write(root, b"run.sh", b"new")
        assert ((root / "run.sh").read_text(), (root / "run.sh").stat().st_mode & 0o7777) == ("new", 0o750)

    async def test_a_link_within_the_workspace_is_written_through(self, root: Path) -> None:
        (root / "link").symlink_to("docs/new.md")
        await write(root, b"link", b"x")
        assert (root / "docs/new.md").read_text() == "x"
        assert (root / "link").is_symlink()

    @pytest.mark.parametrize("path", [b"x", b"x/secret", b".git/hooks/post-commit", b"docs/.git"])
    async def test_nothing_is_written_outside(self, root: Path, path: bytes) -> None:
        (root / "x").symlink_to("../secret" if path == b"x" else "..")
        with pytest.raises(WorkspaceFileNotFound):
            await write(root, path, b"changed")
        assert (root.parent / "secret").read_text() == "secret"
        assert not (root / ".git/hooks").exists()

    @pytest.mark.parametrize("path", [b"docs", b"", b"docs/guide.md/x", b"fifo"])
    async def test_a_directory_is_no_file(self, root: Path, path: bytes) -> None:
        os.mkfifo(root / "fifo")
        with pytest.raises(WrongFileType):
            await write(root, path, b"x")

    async def test_a_body_that_fails_leaves_nothing(self, root: Path) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield b"x" * CHUNK
            raise PayloadTooLarge

        with pytest.raises(PayloadTooLarge):
            await write_file(root, b"docs/guide.md", failing(), root.parent / "staging")
        assert (root / "docs/guide.md").read_text() == "A guide"
        assert list((root.parent / "staging").iterdir()) == []

    async def test_a_file_on_another_disk_is_replaced_at_once_too(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = os.rename

        def other_disk(source: Any, target: Any, **options: Any) -> None:
            if "src_dir_fd" not in options:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target, **options)

        monkeypatch.setattr(os, "rename", other_disk)
        tag = await write(root, b"docs/guide.md", b"new")
        assert ((root / "docs/guide.md").read_text(), names(root / "docs")) == ("new", ["guide.md"])
        assert (await read_file(root, b"docs/guide.md")).etag == tag

    async def test_a_full_disk_is_said(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_arguments: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            await write(root, b"new", b"x")
        assert not (root / "new").exists()


class TestListing:
    async def test_everything_below_is_listed_level_by_level(self, root: Path) -> None:
        (root / "README").write_text("hello")
        (root / "docs" / "link").symlink_to("/etc/passwd")
        os.mkfifo(root / "fifo")
        found = await listed(root)
        assert not found.truncated
        assert [(item.path, item.type, item.size, item.media_type) for item in found.items] == [
            ("README", "file", 5, None),
            ("docs", "directory", None, None),
            ("fifo", "other", None, None),
            ("docs/guide.md", "file", 7, "text/markdown"),
            ("docs/link", "link", None, None),
        ]
        assert str(found.items[0].modified_at).endswith("Z")

    async def test_a_directory_and_a_depth_can_be_chosen(self, root: Path) -> None:
        (root / "docs/deep/er").mkdir(parents=True)
        assert await paths(root, depth=1) == ["docs"]
        assert await paths(root, b"docs", depth=1) == ["docs/deep", "docs/guide.md"]
        assert await paths(root, b"docs/deep") == ["docs/deep/er"]

    async def test_an_empty_directory_has_no_entries(self, root: Path) -> None:
        (root / "empty").mkdir()
        assert await listed(root, b"empty") == WorkspaceFiles(items=[], truncated=False)

    @pytest.mark.parametrize("limit", [1, 5, 2500])
    async def test_a_list_is_bounded_and_says_so(self, root: Path, limit: int) -> None:
        for number in range(2600):
            (root / "docs" / f"{number:04}").touch()
        found = await listed(root, limit=limit)
        assert (len(found.items), found.truncated) == (limit, True)
        assert not (await listed(root, limit=10_000)).truncated

    async def test_a_tree_deeper_than_can_be_opened_is_truncated(self, root: Path) -> None:
        here = os.open(root, os.O_RDONLY)
        for _ in range(MAX_DEPTH + 20):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        found = await listed(root)
        assert found.truncated
        assert found.items[-1].path.count("/") >= 100

    async def test_a_name_that_is_no_utf8_has_its_bytes(self, root: Path) -> None:
        Path(os.fsdecode(os.fsencode(root) + b"/docs/\xff.txt")).touch()
        [_, odd] = (await listed(root, b"docs")).items
        assert (odd.path, parse_path(None, odd.path_base64)) == ("docs/�.txt", b"docs/\xff.txt")

    @pytest.mark.parametrize("path", [b"none", b"out", b".git"])
    async def test_nothing_outside_is_listed(self, root: Path, path: bytes) -> None:
        (root / "out").symlink_to("..")
        with pytest.raises(WorkspaceFileNotFound):
            await listed(root, path)

    async def test_a_file_is_no_directory(self, root: Path) -> None:
        with pytest.raises(WrongFileType):
            await listed(root, b"docs/guide.md")
