"""Workspaces made from real repositories by the real git, checked beforehand, and removed."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from app.engine.repositories import WORKFLOW, check
from app.engine.workspace import WorkspaceError, delete, provision
from app.errors import BadRequest
from app.git.access import GitAccess
from app.git.remote import Limits
from app.models.sessions import Repo, SessionCreate, Workflow
from tests.support.repositories import FILE, failure, git, make_repository, names, session


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., str]:
    return partial(make_repository, tmp_path / "origin")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "data" / "workspaces" / "project" / "session"


class TestMaking:
    async def test_an_empty_private_directory_is_made_when_there_are_no_repositories(self, workspace: Path) -> None:
        await provision(workspace, session(), access=FILE)
        assert names(workspace) == []
        assert workspace.stat().st_mode & 0o777 == 0o700

    async def test_each_repository_has_a_directory_of_its_name_when_cloned(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        await provision(workspace, session(repository("api"), repository("web.git")), access=FILE)
        assert names(workspace) == ["api", "web"]
        assert (workspace / "api" / "README").read_text() == "hello"
        assert git(workspace / "api", "status", "--porcelain", "--branch").startswith("## main")

    async def test_only_the_tip_is_fetched_when_there_is_history(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        await provision(workspace, session(repository(one="1", two="2", three="3")), access=FILE)
        assert git(workspace / "api", "rev-list", "--count", "HEAD").strip() == "1"
        assert (workspace / "api" / "one").exists()

    @pytest.mark.parametrize(("kind", "reference"), [("branch", "release/1.x"), ("tag", "v1")])
    async def test_the_named_branch_or_tag_is_checked_out(
        self, workspace: Path, repository: Callable[..., str], kind: str, reference: str
    ) -> None:
        url = repository(old="1")
        origin = Path(url.removeprefix("file://"))
        git(origin, kind, reference)
        (origin / "old").write_text("2")
        git(origin, "commit", "--quiet", "--all", "--message=new")
        await provision(workspace, session(Repo(url=url, branch=reference)), access=FILE)
        assert (workspace / "api" / "old").read_text() == "1"

    async def test_names_differ_when_repositories_are_called_the_same(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        urls = [repository("a/api", one="1"), repository("b/api", two="2"), repository("api-2", three="3")]
        await provision(workspace, session(*urls), access=FILE)
        assert [names(workspace / name)[1] for name in ("api", "api-2", "api-2-2")] == ["one", "two", "three"]

    async def test_it_works_when_the_directory_is_relative(
        self, tmp_path: Path, repository: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        await provision(Path("here"), session(repository()), access=FILE)
        assert (tmp_path / "here" / "api" / "README").exists()

    async def test_existing_directories_are_not_touched_when_made_again(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        new = session(repository("api"), repository("web"))
        await provision(workspace, new, access=FILE)
        (workspace / "api" / "README").write_text("my work")
        await delete(workspace / "web")
        await provision(workspace, new, access=FILE)
        assert (workspace / "api" / "README").read_text() == "my work"
        assert (workspace / "web" / "README").exists()

    async def test_half_a_clone_is_replaced_when_the_server_died_over_it(
        self, workspace: Path, repository: Callable[..., str], tmp_path: Path
    ) -> None:
        (workspace / ".cloning-1" / "api" / ".git").mkdir(parents=True)
        (workspace / ".cloning-2").symlink_to(tmp_path)
        await provision(workspace, session(repository()), access=FILE)
        assert names(workspace) == ["api"]
        assert (tmp_path / "origin").exists()

    async def test_it_fails_in_words_when_the_directory_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert await failure(tmp_path / "file" / "x", session()) == "The workspace could not be made."


class TestWorkflow:
    @pytest.mark.parametrize("path", [None, "", ".", "flows", "flows/one.md", "inward"])
    async def test_it_is_checked_out_when_its_path_is_there(
        self, workspace: Path, repository: Callable[..., str], path: str | None
    ) -> None:
        url = repository("wf")
        origin = Path(url.removeprefix("file://"))
        (origin / "flows").mkdir()
        (origin / "flows" / "one.md").touch()
        (origin / "inward").symlink_to("flows/one.md")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "--message=flows")
        await provision(workspace, session(workflow=Workflow(git_url=url, path=path)), access=FILE)
        assert names(workspace / WORKFLOW) == [".git", "README", "flows", "inward"]

    @pytest.mark.parametrize("path", ["gone", "README/deeper", "out", "out/etc", "circle"])
    async def test_it_is_refused_when_its_path_is_missing_or_leads_out(
        self, workspace: Path, repository: Callable[..., str], path: str
    ) -> None:
        url = repository("wf")
        origin = Path(url.removeprefix("file://"))
        (origin / "out").symlink_to("/")
        (origin / "circle").symlink_to("circle")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "--message=links")
        message = await failure(workspace, session(workflow=Workflow(git_url=url, path=path)))
        assert message == "The workflow's repository does not have the given path."

    async def test_it_is_refused_when_its_directory_was_replaced_by_a_link(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        workspace.mkdir(parents=True)
        (workspace / WORKFLOW).symlink_to("/")
        new = session(workflow=Workflow(git_url=repository("wf"), path="etc"))
        assert await failure(workspace, new) == "The workflow's repository does not have the given path."

    async def test_the_message_says_so_when_it_cannot_be_cloned(self, workspace: Path, tmp_path: Path) -> None:
        message = await failure(workspace, session(workflow=Workflow(git_url=f"file://{tmp_path}/gone")))
        assert message == "The workflow could not be cloned: … does not appear to be a git repository."


class TestFailing:
    async def test_the_repository_and_the_reason_are_named_when_one_is_missing(
        self, workspace: Path, repository: Callable[..., str], tmp_path: Path
    ) -> None:
        message = await failure(workspace, session(repository(), f"file://{tmp_path}/gone.git"))
        assert message == "Repository 2 (gone) could not be cloned: … does not appear to be a git repository."
        assert names(workspace) == ["api"]

    async def test_the_reason_is_named_when_a_branch_is_missing(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        message = await failure(workspace, session(Repo(url=repository(), branch="gone")))
        assert message == "Repository 1 (api) could not be cloned: Remote branch gone not found in upstream origin."

    @pytest.mark.parametrize(
        "userinfo", ["ada:hunter2", "ada:hunter%32", "hunter2", "hunter%32:", "ada:it's%20hunter2", ":hunter2"]
    )
    async def test_credentials_stay_secret_when_a_server_refuses_them(self, workspace: Path, userinfo: str) -> None:
        requests = []

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            url = f"http://{userinfo}@127.0.0.1:{server.sockets[0].getsockname()[1]}/org/private.git"
            message = await failure(workspace, session(url), access=GitAccess(("http",), ["127.0.0.1"]))
        assert requests
        assert message == "Repository 1 (private) could not be cloned: Authentication failed for …."

    async def test_it_is_given_up_and_removed_when_too_large(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        url = repository(blob=os.urandom(2 * 1024**2).hex())
        message = await failure(workspace, session(url), limits=Limits(bytes=1024**2))
        assert message == "Repository 1 (api) could not be cloned: it is too large."
        assert names(workspace) == []


class TestChecking:
    def test_each_field_is_named_when_several_are_refused(self) -> None:
        new = session(
            "https://example.com/good.git",
            Repo(url="ext::sh -c id", branch="--upload-pack=id"),
            workflow=Workflow(git_url="file:///etc", branch="a..b", path="../../etc"),
        )
        with pytest.raises(BadRequest) as caught:
            check(new, ("https", "ssh"))
        assert sorted(detail.location for detail in caught.value.details) == [
            "body.active_workflow.branch",
            "body.active_workflow.git_url",
            "body.active_workflow.path",
            "body.repos[1].branch",
            "body.repos[1].url",
        ]
        text = caught.value.message + "".join(detail.message for detail in caught.value.details)
        assert not any(value in text for value in ("ext::", "upload-pack", "/etc", "a..b"))

    def test_the_message_of_a_refusal_is_the_first_reason(self) -> None:
        with pytest.raises(BadRequest, match=r"not valid: body\.repos\[0\]\.url must be a git URL by https\.$"):
            check(session(Repo(url="file:///etc")), ("https",))

    @pytest.mark.parametrize("path", ["/etc", "..", "a/../../b", "../a", "a\0b"])
    def test_a_path_is_refused_when_it_leads_out(self, path: str) -> None:
        with pytest.raises(BadRequest):
            check(session(workflow=Workflow(git_url="https://example.com/wf", path=path)), ("https",))

    def test_valid_repositories_are_accepted(self) -> None:
        check(SessionCreate(task="work"), ("https", "ssh"))
        workflow = Workflow(git_url="git@example.com:org/wf.git", branch="main", path="flows/one")
        check(session("https://example.com/api", workflow=workflow), ("https", "ssh"))


@contextmanager
def unprivileged(*paths: Path) -> Iterator[None]:
    """Do as a user whom permissions bind; the paths become that user's."""
    if os.geteuid() != 0:
        yield
        return
    for path in paths:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestRemoving:
    async def test_nothing_remains_when_removed(self, workspace: Path, repository: Callable[..., str]) -> None:
        await provision(workspace, session(repository()), access=FILE)
        await delete(workspace)
        assert not workspace.exists()
        assert workspace.parent.exists()

    async def test_nothing_happens_when_there_is_none(self, workspace: Path) -> None:
        await delete(workspace)

    async def test_what_links_point_to_stays_when_removed(self, workspace: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        (outside / "file").mkdir(parents=True)
        (workspace / "deep").mkdir(parents=True)
        (workspace / "deep" / "link").symlink_to(outside)
        await delete(workspace)
        assert names(outside) == ["file"]
        workspace.symlink_to(outside)
        await delete(workspace)
        assert names(outside) == ["file"]
        assert not workspace.is_symlink()

    async def test_a_tree_is_removed_when_it_is_too_deep_to_be_named(self, workspace: Path) -> None:
        workspace.mkdir(parents=True)
        directory = os.open(workspace, os.O_RDONLY)
        for _ in range(1200):  # deeper than Python recurses, and than a path or the files that may be open reach
            os.mkdir("d" * 50, dir_fd=directory)
            below = os.open("d" * 50, os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        os.close(directory)
        await delete(workspace)
        assert not workspace.exists()

    def test_directories_are_removed_when_read_only_or_unreadable(self) -> None:
        with tempfile.TemporaryDirectory() as parent:
            workspace = Path(parent) / "workspace"
            closed, sealed = workspace / "closed", workspace / "closed" / "sealed"
            sealed.mkdir(parents=True)
            (sealed / "file").touch()
            with unprivileged(Path(parent), workspace, closed, sealed, sealed / "file"):
                for path, mode in ((sealed, 0o000), (closed, 0o500), (workspace, 0o500)):
                    path.chmod(mode)
                with pytest.raises(PermissionError):
                    (sealed / "file").unlink()
                asyncio.run(delete(workspace))
            assert not workspace.exists()

    def test_it_fails_in_words_when_it_may_not(self) -> None:
        with tempfile.TemporaryDirectory() as parent:
            workspace = Path(parent) / "closed" / "workspace"
            workspace.mkdir(parents=True)
            workspace.parent.chmod(0o500)
            with unprivileged(workspace.parent), pytest.raises(WorkspaceError) as caught:
                asyncio.run(delete(workspace))
            workspace.parent.chmod(0o700)
        assert str(caught.value) == "The workspace could not be removed."
