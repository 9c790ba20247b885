"""Files that an agent reads and writes through us: there is no way out of the workspace."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from acp import RequestError

from app.agents.acp import files
from app.agents.acp.files import Files

SECRET = "not for agents"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "workspace-2").mkdir()
    (tmp_path / "workspace-2" / "secret").write_text(SECRET)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "notes.txt").write_text("one\ntwo\nthree")
    return workspace


def outside(workspace: Path) -> dict[str, bytes]:
    """Return the files and directories outside of the workspace, with their contents."""
    beside = (path for path in workspace.parent.rglob("*") if not path.is_relative_to(workspace))
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in beside}


@pytest.mark.parametrize(
    ("line", "limit", "expected"),
    [
        (None, None, "one\ntwo\nthree"),
        (2, None, "two\nthree"),
        (2, 1, "two\n"),
        (0, 1, "one\n"),
        (None, 0, ""),
        (9, None, ""),
        (1, 10**30, "one\ntwo\nthree"),
    ],
)
async def test_a_part_of_a_text_is_read(workspace: Path, line: int | None, limit: int | None, expected: str) -> None:
    response = await Files(workspace).read_text_file("s", str(workspace / "notes.txt"), line, limit)
    assert response.content == expected


async def test_a_file_is_made_with_its_directories_and_replaced(workspace: Path) -> None:
    path = workspace / "new" / "er" / "file.txt"
    for text in ("a long text ä", "short"):
        await Files(workspace).write_text_file("s", str(path), text)
        assert path.read_text() == text


async def test_links_that_stay_inside_are_followed(workspace: Path) -> None:
    (workspace / "link").symlink_to("notes.txt")
    (workspace / "up").symlink_to(workspace, target_is_directory=True)
    path = str(workspace / "up" / "link")
    await Files(workspace).write_text_file("s", path, "changed")
    assert (await Files(workspace).read_text_file("s", path)).content == "changed"
    assert (workspace / "link").is_symlink()


async def test_a_workspace_that_was_replaced_by_a_link_has_no_files(workspace: Path) -> None:
    files = Files(workspace)
    workspace.rename(workspace.with_name("moved"))
    workspace.symlink_to("moved")
    for path in (workspace / "notes.txt", workspace.with_name("moved") / "notes.txt"):
        with pytest.raises(RequestError):
            await files.read_text_file("s", str(path))


def file_link(workspace: Path) -> str:
    (workspace / "link").symlink_to(workspace.parent / "secret")
    return str(workspace / "link")


def directory_link(workspace: Path) -> str:
    (workspace / "link").symlink_to(workspace.parent)
    return str(workspace / "link" / "secret")


def dangling_link(workspace: Path) -> str:
    (workspace / "link").symlink_to(workspace.parent / "made-by-the-agent")
    return str(workspace / "link")


def link_loop(workspace: Path) -> str:
    (workspace / "link").symlink_to("link")
    return str(workspace / "link")


def fifo(workspace: Path) -> str:
    os.mkfifo(workspace / "fifo")
    return str(workspace / "fifo")


WAYS: list[Callable[[Path], str]] = [
    file_link,
    directory_link,
    dangling_link,
    link_loop,
    fifo,
    lambda workspace: str(workspace / ".." / "secret"),
    lambda workspace: str(workspace.parent / "secret"),
    lambda workspace: str(workspace.parent / "workspace-2" / "secret"),
    lambda _: "notes.txt",
    lambda _: "",
    lambda _: "/dev/zero",
    lambda _: "/proc/self/environ",
    str,
    lambda workspace: f"{workspace}/a\0b",
    lambda workspace: f"{workspace}/a\ud800b",
    lambda workspace: f"{workspace}/{'a' * 5000}",
]


@pytest.mark.parametrize("way", WAYS)
async def test_there_is_no_way_out(workspace: Path, way: Callable[[Path], str]) -> None:
    path, before = way(workspace), outside(workspace)
    with pytest.raises(RequestError):
        await Files(workspace).read_text_file("s", path)
    with pytest.raises(RequestError):
        await Files(workspace).write_text_file("s", path, "overwritten")
    assert outside(workspace) == before


async def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(workspace: Path) -> None:
    """Nothing outside of the workspace is read, at any timing."""
    (workspace / "real").mkdir()
    (workspace / "real" / "secret").write_text("of the agent")
    (workspace / "link").symlink_to(workspace.parent)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for first, second in (("real", "aside"), ("link", "real"), ("real", "link"), ("aside", "real")):
                (workspace / first).rename(workspace / second)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        read = set()
        for _ in range(300):
            try:
                read.add((await Files(workspace).read_text_file("s", str(workspace / "real" / "secret"))).content)
            except RequestError:
                read.add("refused")
    finally:
        done.set()
        swapping.join()
    assert SECRET not in read


async def test_a_missing_file_has_an_error_of_its_own(workspace: Path) -> None:
    with pytest.raises(RequestError) as refused:
        await Files(workspace).read_text_file("s", str(workspace / "nothing"))
    assert (refused.value.code, str(refused.value)) == (-32002, "No such file or directory")


async def test_a_file_that_is_not_text_is_refused(workspace: Path) -> None:
    (workspace / "image").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(RequestError, match="not UTF-8"):
        await Files(workspace).read_text_file("s", str(workspace / "image"))


async def test_a_huge_file_is_refused_unread(workspace: Path) -> None:
    with (workspace / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RequestError, match="too large"):
        await Files(workspace).read_text_file("s", str(workspace / "huge"), 1, 1)


async def test_a_huge_text_is_not_written(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(RequestError, match="too large"):
        await Files(workspace).write_text_file("s", str(workspace / "notes.txt"), "x" * 11)
    assert (workspace / "notes.txt").read_text() == "one\ntwo\nthree"
