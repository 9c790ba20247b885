"""Pushing a workspace to a branch of its repository, with real repositories on this machine."""

import shutil
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.repositories import evil_submodule, git, make_repository
from tests.support.stage import EmbeddedStage


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare repository with a commit on main."""
    url = make_repository(tmp_path, "shop", README="shop\n")
    git(tmp_path, "clone", "--quiet", "--bare", url, "shop.git")
    return tmp_path / "shop.git"


@pytest.fixture
def session_id(embedded: EmbeddedStage, embedded_api: Api, bare: Path) -> str:
    """A session with a clone of the bare repository, in which a file has changed and another one is new."""
    session_id = embedded.session(embedded_api, "running", task="Mend the shop", repos=[{"url": bare.as_uri()}])
    embedded_api.write_file(session_id, "shop/README", b"better shop\n")
    embedded_api.write_file(session_id, "shop/new", b"new\n")
    return session_id


@pytest.fixture
def clone(embedded: EmbeddedStage, embedded_api: Api, session_id: str) -> Path:
    """The agent's repository."""
    return embedded.directory / "workspaces" / str(embedded_api.project) / session_id / "shop"


def log(bare: Path, branch: str) -> list[str]:
    return git(bare, "log", "--format=%s", branch).splitlines()


class TestPushing:
    def test_what_is_there_is_committed_and_pushed(self, embedded_api: Api, session_id: str, bare: Path) -> None:
        pushed = embedded_api.push(session_id, branch="mend").ok()
        assert pushed == {"commit": git(bare, "rev-parse", "mend").strip(), "branch": "mend"}
        assert log(bare, "mend") == ["Mend the shop", "README"]
        assert git(bare, "show", "mend:README") + git(bare, "show", "mend:new") == "better shop\nnew\n"
        assert git(bare, "rev-list", "--count", "main..mend").strip() == "1"

    def test_the_same_state_is_the_same_commit_and_a_later_one_follows(
        self, embedded_api: Api, session_id: str, bare: Path
    ) -> None:
        first = embedded_api.push(session_id, branch="mend", repo="shop", message="One").ok()
        assert embedded_api.push(session_id, branch="mend", message="Two").ok() == first
        embedded_api.write_file(session_id, "shop/new", b"newer\n")
        embedded_api.push(session_id, branch="mend", message="Three").ok()
        assert log(bare, "mend") == ["Three", "One", "README"]
        embedded_api.push(session_id, branch="other", message="Four").ok()
        assert log(bare, "other") == ["Four", "README"]

    def test_commits_of_the_agent_are_pushed_with_it(
        self, embedded_api: Api, session_id: str, bare: Path, clone: Path
    ) -> None:
        git(clone, "checkout", "--quiet", "-b", "its-own")
        git(clone, "add", "README")
        git(clone, "commit", "--quiet", "--message=The agent's")
        embedded_api.push(session_id, branch="mend", message="What was left").ok()
        assert log(bare, "mend") == ["What was left", "The agent's", "README"]
        git(clone, "add", ".")
        git(clone, "commit", "--quiet", "--message=All of it")
        pushed = embedded_api.push(session_id, branch="all").ok()
        assert pushed["commit"] == git(clone, "rev-parse", "HEAD").strip()
        embedded_api.push(session_id, branch="mend").ok()
        assert set(log(bare, "mend")) >= {"All of it", "What was left"}

    def test_it_is_never_forced(self, embedded_api: Api, session_id: str, bare: Path, tmp_path: Path) -> None:
        embedded_api.push(session_id, branch="mend").ok()
        git(tmp_path, "clone", "--quiet", "--branch=mend", bare.as_uri(), "mine")
        (tmp_path / "mine" / "x").touch()
        git(tmp_path / "mine", "add", ".")
        git(tmp_path / "mine", "commit", "--quiet", "--message=Mine")
        git(tmp_path / "mine", "push", "--quiet", "origin", "mend")
        embedded_api.write_file(session_id, "shop/new", b"newer\n")
        assert embedded_api.push(session_id, branch="mend").error == (409, "remote_moved")
        assert log(bare, "mend")[0] == "Mine"
        assert embedded_api.push(session_id, branch="main").ok()["branch"] == "main"

    def test_a_key_pushes_once(self, embedded_api: Api, session_id: str, bare: Path) -> None:
        def push(message: str) -> tuple[int, str | None]:
            body, headers = {"branch": "mend", "message": message}, {"Idempotency-Key": "once"}
            answer = embedded_api.call("push_workspace", session_id, body=body, headers=headers)
            return answer.status, answer.headers.get("Idempotency-Replayed")

        assert push("One") == (200, None)
        embedded_api.write_file(session_id, "shop/new", b"newer\n")
        assert push("One") == (200, "true")
        assert push("Two") == (409, None)
        assert log(bare, "mend") == ["One", "README"]


class TestWhatIsNotPushed:
    def test_a_repository_that_refuses_says_so(self, embedded_api: Api, session_id: str, bare: Path) -> None:
        (bare / "hooks").mkdir(exist_ok=True)
        (bare / "hooks" / "pre-receive").write_text("#!/bin/sh\nexit 1\n")
        (bare / "hooks" / "pre-receive").chmod(0o755)
        answer = embedded_api.push(session_id, branch="mend")
        assert answer.error == (422, "push_failed")
        assert "pre-receive hook declined" in answer.body["error"]

    @pytest.mark.parametrize("branch", ["-x", "a..b", "refs/heads/x", "a b", "HEAD"])
    def test_a_name_that_is_none_of_a_branch_is_refused(
        self, embedded: EmbeddedStage, embedded_api: Api, branch: str
    ) -> None:
        session_id = embedded.session(embedded_api, "running")
        refused = embedded_api.push(session_id, branch=branch)
        assert (refused.error, refused.faults) == ((400, "invalid_request"), ["body.branch"])

    def test_a_repository_that_is_not_there_is_refused(self, embedded_api: Api, session_id: str) -> None:
        assert embedded_api.push(session_id, branch="x", repo="other").error == (404, "file_not_found")

    def test_a_workspace_without_repositories_has_nowhere_to_push_to(
        self, embedded: EmbeddedStage, embedded_api: Api
    ) -> None:
        session_id = embedded.session(embedded_api, "running")
        assert embedded_api.push(session_id, branch="x").error == (422, "not_supported")

    def test_where_to_push_to_is_not_the_agents_decision(
        self, embedded_api: Api, session_id: str, bare: Path, clone: Path, tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        git(tmp_path, "init", "--quiet", "--bare", "evil.git")
        git(clone, "remote", "set-url", "origin", str(tmp_path / "evil.git"))
        git(clone, "config", "remote.origin.pushurl", str(tmp_path / "evil.git"))
        git(clone, "config", f"url.{tmp_path}/evil.git.insteadOf", bare.as_uri())
        for hook in ("pre-push", "pre-commit", "reference-transaction"):
            (clone / ".git" / "hooks").mkdir(exist_ok=True)
            (clone / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
            (clone / ".git" / "hooks" / hook).chmod(0o755)
        (clone / ".gitattributes").write_text("* filter=evil\n")
        git(clone, "config", "filter.evil.clean", f"touch {ran}")
        embedded_api.push(session_id, branch="mend").ok()
        assert log(bare, "mend") == ["Mend the shop", "README"]
        assert git(tmp_path / "evil.git", "branch") == ""
        assert not ran.exists()

    def test_submodules_are_pushed_as_they_were_committed_and_run_nothing(
        self, embedded: EmbeddedStage, embedded_api: Api, session_id: str, bare: Path, clone: Path
    ) -> None:
        # Also in the sandbox a filter could write to what the server knows of a workspace.
        ran = embedded.directory / "workspace-data" / str(embedded_api.project) / session_id / "ran"
        for name in ("sub", "gone", "replaced"):
            evil_submodule(clone / name, ran)
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message=submodules")
        (clone / "sub" / "file").write_text("b\n")
        shutil.rmtree(clone / "gone")
        shutil.rmtree(clone / "replaced")
        (clone / "replaced").touch()
        ran.unlink(missing_ok=True)
        embedded_api.push(session_id, branch="mend").ok()
        assert not ran.exists()
        listed = [line.split()[1:] for line in git(bare, "ls-tree", "mend").splitlines()]
        committed = git(clone, "rev-parse", "HEAD:sub").strip()
        assert ["commit", committed, "sub"] in listed
        assert {name: kind for kind, _, name in listed} == {
            "README": "blob", "new": "blob", "replaced": "blob", "sub": "commit",
        }  # fmt: skip

    @pytest.mark.parametrize("damage", ["HEAD", "all", "history"])
    def test_a_damaged_repository_is_pushed_from_where_it_began_or_not_at_all(
        self, embedded_api: Api, session_id: str, bare: Path, clone: Path, damage: str
    ) -> None:
        match damage:
            case "HEAD":
                (clone / ".git" / "HEAD").write_text("garbage")
            case "history":
                git(clone, "checkout", "--quiet", "--orphan", "unrelated")
                git(clone, "commit", "--quiet", "--all", "--message=Unrelated")
            case _:
                shutil.rmtree(clone / ".git")
        answer = embedded_api.push(session_id, branch="mend")
        if damage == "all":
            assert answer.error == (422, "push_failed")
        else:
            assert answer.ok()
            assert log(bare, "mend") == ["Mend the shop", "README"]


@pytest.mark.parametrize("mode", ["worktree", "in_place"])
def test_a_local_directory_is_pushed_to_its_remote(
    local_api: Api,
    roots: Path,
    mode: str,
) -> None:
    url = make_repository(roots, f"push-{mode}", README="shop\n")
    source = roots / f"push-{mode}"
    git(roots, "clone", "--quiet", "--bare", url, f"push-{mode}.git")
    git(source, "remote", "add", "origin", str(roots / f"push-{mode}.git"))
    created = local_api.create_session(task="write new hello", workspace={"path": str(source), "mode": mode}).ok()
    local_api.wait_for_run(created["id"], created["run_id"], "completed")
    git(source, "remote", "set-url", "origin", "/nowhere")
    assert local_api.push(created["id"], branch="work", message="Work").ok()
    assert log(roots / f"push-{mode}.git", "work") == ["Work", "README"]
    local_api.delete_session(created["id"])
