"""The disk that a workspace takes."""

import os
from pathlib import Path

import pytest

from app.disk_usage import TooDeep, disk_usage
from app.workspaces.removal import remove_tree


def test_each_inode_counts_once_by_its_blocks(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    (root / "directory").mkdir(parents=True)
    (root / "file").write_bytes(os.urandom(100_000))
    once = disk_usage(root)
    assert once >= 100_000
    os.link(root / "file", root / "directory" / "again")
    assert disk_usage(root) == once
    with (root / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert disk_usage(root) < 2**30


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))
    (root / "link").symlink_to(tmp_path / "large")
    (root / "circle").symlink_to(root)
    assert disk_usage(root) < 100_000


def test_a_workspace_that_is_gone_takes_nothing(tmp_path: Path) -> None:
    assert disk_usage(tmp_path / "none") == 0


def make_deep(root: Path, depth: int) -> None:
    """Make directories in one another, and a file at the end of them."""
    root.mkdir()
    directory = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory", dir_fd=directory)
        below = os.open("directory", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)


def test_a_tree_that_no_path_reaches_the_end_of_cannot_be_measured(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 600)
    with pytest.raises(TooDeep):
        disk_usage(tmp_path / "deep")
    remove_tree(tmp_path / "deep")
