"""Local directories: which may be used, worktrees of them, and that nothing of the user's is ever deleted."""

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.errors import BadRequest
from app.models.sessions import LocalDirectory, Repo, SessionCreate, Workflow, WorkspaceMode
from app.sandbox.sandbox import NO_SANDBOX
from app.workspaces.local import LocalAccess, LocalDirectoryError, check, common_directory, find_worktree, provision
from app.workspaces.local import remove as remove_worktree
from tests.support.repositories import evil_submodule, git
from tests.support.sandboxed import confined, needs_sandbox

WORKTREE, IN_PLACE = WorkspaceMode.WORKTREE, WorkspaceMode.IN_PLACE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository of the user's with something that is not committed."""
    source = tmp_path / "src" / "shop"
    source.mkdir(parents=True)
    git(source, "init", "--quiet", "--initial-branch=main")
    (source / "README").write_text("shop\n")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "--message=begin")
    (source / "draft").write_text("the user's\n")
    return source


def wanted(path: Path | str, mode: WorkspaceMode | None = None, **more: object) -> SessionCreate:
    return SessionCreate(task="x", workspace=LocalDirectory(path=str(path), mode=mode), **more)  # type: ignore[arg-type]


class TestChecks:
    def check(self, tmp_path: Path, new: SessionCreate) -> SessionCreate:
        return check(new, [tmp_path / "src"], [tmp_path / "data"])

    def test_a_directory_below_a_root_is_used_by_its_real_path(self, tmp_path: Path, source: Path) -> None:
        (source.parent / "link").symlink_to(source)
        for path in (source, source.parent / "link", f"{source}/../shop/"):
            checked = self.check(tmp_path, wanted(path))
            assert checked.workspace == LocalDirectory(path=str(source), mode=WORKTREE)

    def test_a_session_without_one_is_not_checked(self, tmp_path: Path) -> None:
        assert self.check(tmp_path, SessionCreate(task="x")) == SessionCreate(task="x")

    @pytest.mark.parametrize("path", ["/etc", "src/shop", "{src}/none", "{src}/README", "{src}/out", "{src}/shop/.git"])
    def test_any_other_path_is_refused_in_the_same_words(self, tmp_path: Path, source: Path, path: str) -> None:
        (source.parent / "out").symlink_to("/etc")
        (source.parent / "README").touch()
        with pytest.raises(BadRequest) as caught:
            self.check(tmp_path, wanted(path.format(src=source.parent), IN_PLACE))
        [detail] = caught.value.details
        assert detail.location == "body.workspace.path"
        assert detail.message.endswith("that LOCAL_ROOTS permits for this project")

    def test_a_project_without_roots_has_no_local_directories(self, source: Path) -> None:
        with pytest.raises(BadRequest):
            check(wanted(source), [], [])

    def test_repositories_and_a_workflow_are_no_part_of_it(self, tmp_path: Path, source: Path) -> None:
        new = wanted(source, repos=[Repo(url="u")], active_workflow=Workflow(git_url="u"))
        with pytest.raises(BadRequest) as caught:
            self.check(tmp_path, new)
        assert [detail.location for detail in caught.value.details] == ["body.repos", "body.active_workflow"]

    def test_only_a_repository_has_worktrees(self, tmp_path: Path, source: Path) -> None:
        plain = source.parent / "plain"
        plain.mkdir()
        assert self.check(tmp_path, wanted(plain, IN_PLACE)).workspace == LocalDirectory(path=str(plain), mode=IN_PLACE)
        with pytest.raises(BadRequest, match="top directory of a git repository"):
            self.check(tmp_path, wanted(plain))

    def test_the_servers_own_data_is_out_of_reach(self, source: Path) -> None:
        data = source / "data"
        data.mkdir()
        for path, mode in ((source, IN_PLACE), (data, IN_PLACE)):
            with pytest.raises(BadRequest, match="the server's own data"):
                check(wanted(path, mode), [source.parent], [data])
        assert check(wanted(source, WORKTREE), [source.parent], [data]).workspace is not None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "workspaces" / "demo" / "s1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data" / "workspace-data" / "demo" / "s1"


@pytest.fixture(params=[pytest.param("bwrap", marks=needs_sandbox), "off"])
def access(tmp_path: Path, request: pytest.FixtureRequest) -> LocalAccess:
    """Access to what is below `src`, with git in the sandbox and without."""
    confined_to = confined(hidden=[tmp_path / "data"]) if request.param == "bwrap" else NO_SANDBOX
    return LocalAccess([tmp_path / "src"], confined_to)


Make = Callable[..., Awaitable[None]]
Remove = Callable[[], Awaitable[None]]


@pytest.fixture
def make(source: Path, target: Path, data: Path, access: LocalAccess) -> Make:
    """Make the workspace of a session in the user's repository, or in another directory."""

    async def call(path: Path = source, mode: WorkspaceMode = WORKTREE) -> None:
        await provision(LocalDirectory(path=str(path), mode=mode), "s1", target, data, access)

    return call


@pytest.fixture
def remove(data: Path, access: LocalAccess) -> Remove:
    return lambda: remove_worktree(data, access)


def branches(source: Path) -> list[str]:
    return git(source, "branch", "--format=%(refname:short)").split()


def commit(where: Path, message: str = "work") -> None:
    git(where, "add", "--all")
    git(where, "commit", "--quiet", "--allow-empty", f"--message={message}")


class TestInPlace:
    async def test_the_directory_is_neither_made_nor_removed(
        self, source: Path, target: Path, make: Make, remove: Remove
    ) -> None:
        await make(mode=IN_PLACE)
        await remove()
        assert not target.exists()
        assert (source / "draft").read_text() == "the user's\n"
        assert branches(source) == ["main"]

    async def test_a_directory_that_was_replaced_is_not_used(self, source: Path, make: Make) -> None:
        shutil.move(source, source.with_name("elsewhere"))
        source.symlink_to("elsewhere")
        with pytest.raises(LocalDirectoryError):
            await make(mode=IN_PLACE)


class TestWorktrees:
    async def test_one_begins_at_the_last_commit_on_a_branch_of_its_own(self, target: Path, make: Make) -> None:
        await make()
        assert (target / "README").read_text() == "shop\n"
        assert not (target / "draft").exists()
        assert git(target, "branch", "--show-current").strip() == "ambient/s1"
        assert git(target, "status", "--porcelain") == ""
        await make()

    async def test_without_commits_nothing_stays(self, source: Path, target: Path, make: Make, remove: Remove) -> None:
        await make()
        await remove()
        assert not target.exists()
        assert branches(source) == ["main"]
        assert len(git(source, "worktree", "list").splitlines()) == 1
        assert (source / "draft").read_text() == "the user's\n"

    async def test_what_is_left_is_committed_to_the_branch(
        self, source: Path, target: Path, make: Make, remove: Remove
    ) -> None:
        await make()
        (target / ".gitignore").write_text("ignored\n")
        commit(target)
        (target / "new").write_text("new\n")
        (target / "ignored").touch()
        (target / "README").unlink()
        await remove()
        assert not target.exists()
        assert branches(source) == ["ambient/s1", "main"]
        assert git(source, "ls-tree", "--name-only", "ambient/s1").split() == [".gitignore", "new"]
        assert git(source, "rev-list", "--count", "main..ambient/s1").strip() == "2"

    async def test_a_pipe_for_which_git_would_wait_is_no_obstacle(
        self, source: Path, target: Path, make: Make, remove: Remove
    ) -> None:
        await make()
        (target / "new").write_text("new\n")
        os.mkfifo(target / ".gitignore")
        (target / ".gitattributes").symlink_to(".gitignore")
        await remove()
        assert git(source, "ls-tree", "--name-only", "ambient/s1").split() == ["README", "new"]

    @pytest.mark.parametrize("state", ["another branch", "no branch", "a branch from before"])
    async def test_an_agent_that_left_its_branch_loses_nothing(
        self, source: Path, target: Path, state: str, make: Make, remove: Remove
    ) -> None:
        git(source, "branch", "old")
        await make()
        (target / "first").touch()
        commit(target, "first")
        match state:
            case "another branch":
                git(target, "checkout", "--quiet", "-b", "mine")
            case "no branch":
                git(target, "checkout", "--quiet", "--detach")
            case _:
                git(target, "checkout", "--quiet", "old")
        (target / "second").touch()
        commit(target, "second")
        (target / "third").touch()
        await remove()
        messages = git(source, "log", "--format=%s", "ambient/s1").splitlines()
        assert {"first", "second", "begin"} < set(messages)
        assert {"second", "third"} <= set(git(source, "ls-tree", "--name-only", "ambient/s1").split())

    async def test_a_worktree_whose_git_was_forged_is_committed_to_the_users_repository(
        self, source: Path, target: Path, data: Path, make: Make, remove: Remove
    ) -> None:
        evil = source.with_name("evil")
        evil.mkdir()
        git(evil, "init", "--quiet")
        ran = source.with_name("ran")
        git(evil, "config", "filter.evil.clean", f"touch {ran}; cat")
        git(evil, "config", "core.fsmonitor", f"touch {ran}")
        await make()
        worktree = find_worktree(data)
        assert worktree is not None
        (target / ".git").write_text(f"gitdir: {evil / '.git'}\n")
        (Path(worktree.git_directory) / "commondir").write_text(str(evil / ".git"))
        (target / ".gitattributes").write_text("* filter=evil\n")
        await remove()
        assert not ran.exists()
        assert ".gitattributes" in git(source, "ls-tree", "--name-only", "ambient/s1")

    async def test_nothing_that_the_repository_configures_runs(
        self, source: Path, target: Path, tmp_path: Path, make: Make, remove: Remove
    ) -> None:
        ran = tmp_path / "ran"
        for hook in ("post-checkout", "pre-commit", "reference-transaction"):
            (source / ".git/hooks" / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
            (source / ".git/hooks" / hook).chmod(0o755)
        included = tmp_path / "src" / "included"
        for driver, place in (("evil", ()), ("e=vil", ()), ("included", ("--file", str(included)))):
            for name in ("clean", "smudge", "process"):
                git(source, "config", *place, f"filter.{driver}.{name}", f"touch {ran}; cat")
            git(source, "config", *place, f"filter.{driver}.required", "true")
        git(source, "config", "includeIf.onbranch:ambient/**.path", str(included))
        (source / "first").touch()
        (source / "second").touch()
        commit(source, "files")
        (source / ".git/info/attributes").write_text("* filter=evil\nfirst filter=e=vil\nsecond filter=included\n")
        ran.unlink(missing_ok=True)
        await make()
        (target / "new").touch()
        await remove()
        assert not ran.exists()
        assert "new" in git(source, "ls-tree", "--name-only", "ambient/s1")

    async def test_nothing_that_a_repository_in_the_worktree_configures_runs(
        self, source: Path, target: Path, make: Make, remove: Remove
    ) -> None:
        ran = source / ".git" / "ran"
        await make()
        evil_submodule(target / "sub", ran)
        git(target, "add", "--all")
        git(target, "commit", "--quiet", "--message=with a submodule")
        (target / "sub" / "file").write_text("b\n")
        ran.unlink(missing_ok=True)
        await remove()
        assert not ran.exists()
        assert "160000 commit" in git(source, "ls-tree", "ambient/s1", "sub")

    async def test_work_that_cannot_be_committed_is_not_removed(
        self, source: Path, target: Path, make: Make, remove: Remove
    ) -> None:
        await make()
        (target / "new").touch()
        (source / ".git/refs/heads/ambient/s1.lock").touch()
        with pytest.raises(LocalDirectoryError):
            await remove()
        assert (target / "new").exists()
        (source / ".git/refs/heads/ambient/s1.lock").unlink()
        await remove()
        assert not target.exists()

    async def test_a_repository_that_is_gone_is_no_obstacle(self, source: Path, make: Make, remove: Remove) -> None:
        await make()
        shutil.rmtree(source)
        await remove()

    @pytest.mark.parametrize("empty", [lambda path: git(path, "init", "--quiet"), lambda path: (path / ".git").touch()])
    async def test_a_repository_without_a_commit_has_no_worktrees(
        self, tmp_path: Path, empty: Callable[[Path], object], make: Make
    ) -> None:
        bare = tmp_path / "src" / "bare"
        bare.mkdir(parents=True)
        empty(bare)
        with pytest.raises(LocalDirectoryError, match="no git repository with a commit"):
            await make(bare)


class TestHostileRepositories:
    """An agent that works in place may have changed everything in a repository, and the next session has a worktree."""

    async def test_no_program_runs_whatever_is_configured(
        self, source: Path, target: Path, tmp_path: Path, make: Make, remove: Remove
    ) -> None:
        ran = source.parent / "ran"
        evil = tmp_path / "src" / "evil"
        evil.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
        evil.chmod(0o755)
        git(source, "branch", "small")
        (source / "large").write_text("fetched when it is needed\n")
        commit(source)
        blob = git(source, "rev-parse", "HEAD:large").strip()
        (source / ".git/objects" / blob[:2] / blob[2:]).unlink()
        for name, value in {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "evil",
            "remote.evil.url": f"ext::{evil} %S",
            "remote.evil.promisor": "true",
            "remote.evil.uploadpack": str(evil),
            "protocol.ext.allow": "always",
            "protocol.allow": "always",
            "core.sshCommand": str(evil),
            "core.gitProxy": str(evil),
            "core.fsmonitor": str(evil),
            "core.hooksPath": str(evil.parent),
            "core.alternateRefsCommand": str(evil),
            "core.editor": str(evil),
            "core.pager": str(evil),
            "credential.helper": f"!{evil}",
            "gpg.program": str(evil),
            "commit.gpgSign": "true",
            "diff.external": str(evil),
            "submodule.recurse": "true",
        }.items():
            git(source, "config", name, value)
        with pytest.raises(LocalDirectoryError):
            await make()
        assert not ran.exists()
        (source / ".git/HEAD").write_text("ref: refs/heads/small\n")
        await make()
        (target / "new").touch()
        await remove()
        assert not ran.exists()

    @pytest.mark.parametrize("how", ["link", "file", "worktree"])
    async def test_a_repository_beside_the_roots_is_not_used(
        self, source: Path, tmp_path: Path, how: str, make: Make
    ) -> None:
        private = tmp_path / "private"
        shutil.copytree(source, private)
        shutil.rmtree(source / ".git")
        if how == "link":
            (source / ".git").symlink_to(private / ".git")
        elif how == "file":
            (source / ".git").write_text(f"gitdir: {private / '.git'}\n")
        else:
            git(private, "worktree", "add", "--quiet", str(source.with_name("theirs")))
            (source / ".git").write_text((source.with_name("theirs") / ".git").read_text())
        with pytest.raises(LocalDirectoryError):
            await make()
        assert branches(private) == (["main", "theirs"] if how == "worktree" else ["main"])

    async def test_a_repository_around_a_directory_is_not_its_own(self, source: Path, access: LocalAccess) -> None:
        (source / "part").mkdir()
        with pytest.raises(LocalDirectoryError):
            await common_directory(source / "part", access)

    async def test_a_repository_that_was_replaced_is_not_written_to(
        self, source: Path, target: Path, tmp_path: Path, make: Make, remove: Remove
    ) -> None:
        await make()
        (target / "new").touch()
        private = tmp_path / "private"
        (source / ".git").rename(private)
        (source / ".git").symlink_to(private)
        with pytest.raises(LocalDirectoryError):
            await remove()
        assert (target / "new").exists()
