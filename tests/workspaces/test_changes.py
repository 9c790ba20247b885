"""How workspaces differ from their beginnings: the list of files, and patches that the real git applies."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import WorkspaceFileNotFound, WorkspaceNotReady, WrongFileType
from app.models.workspaces import ChangeStatus, FileChange
from app.workspaces.changes import diff, patch
from app.workspaces.packing import MANY
from app.workspaces.states import WorkspaceStates
from tests.support.repositories import git

MAX_FILE = 100_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    return root


@pytest.fixture
def states(tmp_path: Path, root: Path) -> WorkspaceStates:
    return WorkspaceStates(root, tmp_path / "server", max_file=MAX_FILE)


def commit(where: Path, *more: str) -> None:
    git(where, "add", "--all", *more)
    git(where, "commit", "--quiet", "--allow-empty", "--message=work")


def repository(where: Path, **files: str) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    git(where, "init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        (where / name).write_text(text)
    commit(where)
    return where


async def changes(states: WorkspaceStates, path: bytes = b"") -> dict[str, str]:
    return {file.path: file.status.value for file in (await diff(states, path, limit=1000)).files}


async def patch_of(states: WorkspaceStates, path: bytes = b"") -> bytes:
    return b"".join([chunk async for chunk in (await patch(states, path)).chunks])


def tree(where: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and content, but those of git."""
    found = {}
    for path in sorted(where.rglob("*")):
        if ".git" not in path.parts and (path.is_symlink() or path.is_file()):
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(where))] = (path.lstat().st_mode, content)
    return found


async def test_before_there_is_a_baseline_there_are_no_changes(states: WorkspaceStates) -> None:
    with pytest.raises(WorkspaceNotReady):
        await diff(states, b"", limit=10)


async def test_an_empty_workspace_is_compared_with_its_beginning(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    assert await changes(states) == {}
    assert await patch_of(states) == b""
    (root / "hello.py").write_text("print('hello')\n")
    found = await diff(states, b"", limit=10)
    assert found.files == [
        FileChange(path="hello.py", status=ChangeStatus.ADDED, mode="100644", additions=1, deletions=0)
    ]
    assert (found.file_count, found.additions, found.deletions, found.truncated) == (1, 1, 0, False)


async def test_a_path_that_never_was_in_an_empty_workspace_is_not_found(states: WorkspaceStates) -> None:
    await states.begin()
    for compare in (changes, patch_of):
        with pytest.raises(WorkspaceFileNotFound):
            await compare(states, b"nowhere")


async def test_the_baseline_is_taken_once(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    (root / "new").touch()
    await states.begin()
    assert await changes(states) == {"new": "added"}


async def test_a_dirty_start_is_the_baseline(root: Path, states: WorkspaceStates) -> None:
    repository(root, README="hello\n")
    (root / "README").write_text("hello, changed\n")
    (root / "untracked").touch()
    await states.begin()
    assert await changes(states) == {}


async def test_committed_staged_changed_and_new_files_are_changes(root: Path, states: WorkspaceStates) -> None:
    repository(root, a="a\n", b="b\n", c="c\n")
    await states.begin()
    (root / "a").write_text("committed\n")
    commit(root)
    (root / "b").write_text("staged\n")
    git(root, "add", "b")
    (root / "c").unlink()
    (root / "d").write_text("new\n")
    assert await changes(states) == {"a": "modified", "b": "modified", "c": "deleted", "d": "added"}


def nothing(_root: Path) -> None: ...


def remove_git(root: Path) -> None:
    shutil.rmtree(root / ".git")


def rewrite_history(root: Path) -> None:
    remove_git(root)
    repository(root)


def break_git(root: Path) -> None:
    (root / ".git" / "index").write_bytes(b"DIRC garbage")
    (root / ".git" / "HEAD").write_text("garbage")


@pytest.mark.parametrize("afterwards", [nothing, remove_git, rewrite_history, break_git])
async def test_a_patch_makes_the_same_of_the_beginning(
    tmp_path: Path, root: Path, states: WorkspaceStates, afterwards: Callable[[Path], None]
) -> None:
    """With new, deleted, renamed, binary, large and mode-changed files, links, and names that need quotes."""
    (root / "docs").mkdir()
    repository(root, mode="x\n", gone="gone\n", crlf="a\r\nb\r\n", link="now a link\n", ending="no newline")
    (root / "docs" / "old name.md").write_text("".join(f"line {number}\n" for number in range(50)))
    (root / "binary").write_bytes(bytes(range(256)))
    (root / ".gitattributes").write_text("* text=auto\n*.lock -diff\nbinary diff=evil filter=evil\n")
    (root / "yarn.lock").write_text("1\n")
    (root / ".gitignore").write_text("ignored\n*.tracked\n")
    (root / "a.tracked").write_text("1\n")
    commit(root, "--force")
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    await states.begin()

    (root / "mode").chmod(0o755)
    (root / "gone").unlink()
    (root / "crlf").write_bytes(b"a\r\nc\n")
    (root / "link").unlink()
    (root / "link").symlink_to("docs")
    (root / "ending").write_text("still no newline")
    (root / "docs" / "old name.md").rename(root / "docs" / 'new "nämé"\n.md')
    (root / "binary").write_bytes(bytes(range(255, -1, -1)))
    (root / "yarn.lock").write_text("2\n")
    (root / "a.tracked").write_text("2\n")
    (root / "ignored").write_text("not in the patch")
    (root / "empty").touch()
    (root / "dangling").symlink_to("/nowhere")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_text("odd\n")
    os.mkfifo(root / "fifo")
    afterwards(root)

    found = {file.path: file for file in (await diff(states, b"", limit=1000)).files}
    assert found["mode"].old_mode == "100644"
    assert found['docs/new "nämé"\n.md'].old_path == "docs/old name.md"
    assert (found["binary"].binary, found["binary"].additions) == (True, None)
    assert found["�"].path_base64 == "_w=="
    assert (found["yarn.lock"].additions, found["a.tracked"].deletions) == (1, 1)

    (tmp_path / "patch").write_bytes(await patch_of(states))
    git(tmp_path / "copy", "apply", "--whitespace=nowarn", str(tmp_path / "patch"))
    (root / "ignored").unlink()
    assert tree(tmp_path / "copy") == tree(root)


async def test_several_repositories_are_one_workspace(tmp_path: Path, root: Path, states: WorkspaceStates) -> None:
    for name in ("api", "web"):
        repository(root / name, README=f"{name}\n")
    repository(root / "api" / "inner", deep="deep\n")
    shutil.copytree(root, tmp_path / "copy")
    await states.begin()
    (root / "api" / "README").write_text("changed\n")
    (root / "api" / "inner" / "deep").write_text("deeper\n")
    (root / "web" / "new").write_text("new\n")
    commit(root / "web")
    repository(root / "made", by="the agent\n")
    (root / "notes").write_text("beside them\n")
    assert await changes(states) == {
        "api/README": "modified",
        "api/inner/deep": "modified",
        "made/by": "added",
        "notes": "added",
        "web/new": "added",
    }
    assert await changes(states, b"web") == {"web/new": "added"}
    (tmp_path / "patch").write_bytes(await patch_of(states, b"web"))
    git(tmp_path / "copy" / "web", "apply", str(tmp_path / "patch"))
    assert tree(tmp_path / "copy" / "web") == tree(root / "web")


async def test_a_directory_of_almost_the_same_name_is_another_one(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    for name in ("web", "web2"):
        (root / name).mkdir()
        (root / name / "file").touch()
    assert await changes(states, b"web") == {"web/file": "added"}
    assert await changes(states, b"web2/file") == {"web2/file": "added"}


async def test_a_file_that_is_too_large_is_listed_and_not_in_the_patch(root: Path, states: WorkspaceStates) -> None:
    repository(root, grows="small\n", other="x\n")
    (root / "old").write_bytes(b"x" * (MAX_FILE + 1))
    (root / "gone").write_bytes(b"x" * (MAX_FILE + 1))
    await states.begin()
    assert await changes(states) == {}
    (root / "grows").write_bytes(b"x" * (MAX_FILE + 1))
    (root / "new").write_bytes(b"x" * (MAX_FILE + 1))
    (root / "gone").unlink()
    (root / "other").write_text("y\n")
    found = (await diff(states, b"", limit=10)).files
    assert [(file.path, file.status, file.too_large) for file in found] == [
        ("gone", "deleted", True),
        ("grows", "modified", True),
        ("new", "added", True),
        ("other", "modified", False),
    ]
    content = await patch_of(states)
    assert content.count(b"diff --git") == 1
    assert b"other" in content


async def test_a_list_of_changes_is_bounded(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    for number in range(5):
        (root / f"{number}").write_text("x\n")
    found = await diff(states, b"", limit=2)
    assert ([file.path for file in found.files], found.file_count) == (["0", "1"], 5)
    assert (found.additions, found.truncated) == (5, True)


async def test_nothing_of_a_repository_runs(tmp_path: Path, root: Path, states: WorkspaceStates) -> None:
    """Hooks, filters, fsmonitor, external diffs and textconv, by its configuration and attributes."""
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    evil.chmod(0o755)
    repository(root, file="1\n")
    for setting in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.evil.command"):
        git(root, "config", setting, str(evil))
    git(root, "config", "diff.evil.textconv", str(evil))
    git(root, "config", "core.hooksPath", str(tmp_path))
    (root / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (tmp_path / "ran").unlink(missing_ok=True)
    await states.begin()
    (root / "file").write_text("2\n")
    assert await changes(states) == {"file": "modified"}
    assert b"+2" in await patch_of(states)
    assert not (tmp_path / "ran").exists()


async def test_links_and_indexes_of_an_agent_lead_nowhere(tmp_path: Path, root: Path, states: WorkspaceStates) -> None:
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "key").write_text("secret\n")
    repository(root, README="x\n")
    (root / "sub").mkdir()
    (root / "sub" / "key").write_text("mine\n")
    commit(root)
    await states.begin()
    shutil.rmtree(root / "sub")
    (root / "sub").symlink_to(secret)
    (root / "again").symlink_to(secret / "key")
    (root / ".gitignore").symlink_to(secret / "key")
    found = await changes(states)
    assert found == {"sub/key": "deleted", "sub": "added", "again": "added", ".gitignore": "added"}
    assert b"secret\n" not in await patch_of(states)


async def test_a_state_after_one_that_was_not_finished_is_complete(root: Path, states: WorkspaceStates) -> None:
    repository(root, README="x\n")
    await states.begin()
    for index in (root.parent / "server" / "indexes").iterdir():
        index.with_suffix(".lock").touch()
        index.write_bytes(b"half")
    (root / "new").touch()
    assert await changes(states) == {"new": "added"}


async def test_many_new_files_are_stored_in_a_pack(tmp_path: Path, root: Path, states: WorkspaceStates) -> None:
    """And whatever is among them: links, pipes, files in other repositories, names of any bytes."""
    (tmp_path / "secret").write_text("secret\n")
    await states.begin()
    repository(root / "inner", README="inner\n")
    for number in range(MANY + 20):
        (root / f"{number}").write_text(f"{number}\n")
    (root / "5").unlink()
    (root / "5").symlink_to(tmp_path / "secret")
    (root / "6").unlink()
    os.mkfifo(root / "6")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).write_text("odd\n")
    found = await diff(states, b"", limit=5000)
    assert (found.file_count, found.additions) == (MANY + 21, MANY + 21)
    counts = git(states.repository.directory, "count-objects", "-v")
    loose, packed = (int(re.findall(rf"^{name}: (\d+)", counts, re.MULTILINE)[0]) for name in ("count", "in-pack"))
    assert (loose < 10, packed >= MANY + 18) == (True, True)
    assert b"+secret\n" not in await patch_of(states)
    (root / "7").write_text("again\n")
    assert (await diff(states, b"", limit=1)).file_count == MANY + 21


@pytest.mark.parametrize(
    "place",
    [".gitignore", "deep/.gitattributes", "made/.git/HEAD", "made/.git/commondir", "made/.git/config", "moved/HEAD"],
)
@pytest.mark.parametrize("linked", [False, True])
async def test_a_pipe_that_git_would_wait_for_is_named(
    root: Path, states: WorkspaceStates, place: str, linked: bool
) -> None:
    await states.begin()
    repository(root / "made", README="x\n")
    for name in ("deep", "moved", "other"):
        (root / name).mkdir()
    (root / "moved" / "refs").mkdir()
    (root / "moved" / "objects").mkdir()
    (root / "other" / ".git").write_text("gitdir: ../moved\n")
    os.mkfifo(root / "pipe")
    (root / place).unlink(missing_ok=True)
    (root / place).symlink_to(root / "pipe") if linked else os.mkfifo(root / place)
    with pytest.raises(WrongFileType, match=place):
        await diff(states, b"", limit=10)
    (root / place).unlink()
    assert (await diff(states, b"", limit=10)).file_count >= 0


async def test_a_change_right_after_a_comparison_is_seen(root: Path, states: WorkspaceStates) -> None:
    """Of the same size, and within the time in which a file system gives the same time."""
    (root / "file").write_text("0")
    await states.begin()
    for text in "12345":
        (root / "file").write_text(text)
        assert f"+{text}".encode() in await patch_of(states)


async def test_names_that_only_resemble_gits_are_files_like_any(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    for name in ("git~1", ".git ", ".gi\u200ct", "x.git"):
        (root / name).mkdir()
        (root / name / "config").write_text("x\n")
    for name, kind in (("a", "file"), ("b", "link"), ("c", "directory"), ("d", "pipe")):
        (root / name).mkdir()
        (root / name / "file").write_text("x\n")
        git_file = root / name / ".git"
        if kind == "file":
            git_file.write_text("gitdir: /etc\n")
        elif kind == "link":
            git_file.symlink_to("/etc")
        elif kind == "directory":
            git_file.mkdir()
            (git_file / "secret").write_text("x\n")
        else:
            os.mkfifo(git_file)
    found = await changes(states)
    assert {f"{name}/file" for name in "abcd"} <= found.keys()
    assert {"git~1/config", ".git /config", ".gi\u200ct/config", "x.git/config"} <= found.keys()
    assert not [path for path in found if "/.git" in path]


async def test_directories_that_are_too_deep_for_git_are_no_obstacle(root: Path, states: WorkspaceStates) -> None:
    await states.begin()
    (root / "top").write_text("x\n")
    directory = os.open(root, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=directory)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    assert await changes(states) == {"top": "added"}
