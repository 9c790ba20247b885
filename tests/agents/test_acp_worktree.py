"""A confined ACP agent that uses git in a local directory: in a worktree, or in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.test_acp_sandbox import run
from tests.support.agents.process import scripted_acp
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.repositories import git, make_repository
from tests.support.sandboxed import needs_sandbox
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = [needs_sandbox, pytest.mark.xdist_group("acp-worktree")]

AGENTS_OWN = ".agent"
"""A file that the scripted agent writes."""

COMMIT = "git add new.txt && git -c user.name=Agent -c user.email=agent@example.com commit -q -m"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def stage(loop: Background, roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    chosen = {"agent": scripted_acp("--load"), "agent_sandbox": "bwrap", "local_roots": f"demo={roots}"}
    with embedded_stage(loop, tmp_path_factory.mktemp("acp"), **chosen) as stage:
        yield stage


@pytest.fixture
def api(stage: EmbeddedStage) -> Iterator[Api]:
    with stage.api("demo") as api:
        yield api


@pytest.fixture
def source(roots: Path, request: pytest.FixtureRequest) -> Path:
    """A repository of the user's with a draft that is not committed."""
    make_repository(roots, request.node.name, README="shop\n")
    source = roots / str(request.node.name)
    (source / "draft").write_text("mine\n")
    return source


def session_on(stage: EmbeddedStage, api: Api, source: Path, mode: str) -> str:
    return stage.session(api, "running", task="hello", workspace={"path": str(source), "mode": mode})


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def changes(api: Api, session_id: str) -> dict[str, str]:
    found = api.diff(session_id).ok()["files"]
    return {file["path"]: file["status"] for file in found if file["path"] != AGENTS_OWN}


def own(directory: Path) -> dict[str, bytes]:
    """Return the files of the user's repository, without objects and the metadata of the session's worktree."""
    shared = (".git/objects/", ".git/refs/heads/ambient/", ".git/logs/refs/heads/ambient/", ".git/worktrees/")
    return {name: content for name, content in files(directory).items() if not name.startswith(shared)}


def test_an_agent_commits_in_a_worktree_and_changes_nothing_of_the_users(
    stage: EmbeddedStage, api: Api, source: Path
) -> None:
    before = own(source)
    session_id = session_on(stage, api, source, "worktree")
    assert run(api, session_id, "git status --short -uno; git branch --show-current; ls") == (
        f"ambient/{session_id}\nREADME"
    )
    assert run(api, session_id, f"echo new > new.txt; {COMMIT} first && git log --format=%s") == "first\nREADME"
    assert run(api, session_id, f"echo more >> new.txt; {COMMIT} second && git log --format=%s") == (
        "second\nfirst\nREADME"
    )
    assert run(api, session_id, "git reflog --format=%gs").splitlines()[0] == "commit: second"
    common = source / ".git"
    for attempt in (
        *("git config core.hooksPath /tmp", f"echo x >> {common}/config", f"echo x > {common}/info/exclude"),
        *(f"echo x > {common}/hooks/pre-commit", f"mkdir {common}/more", f"rm {common}/HEAD"),
        *("git branch other", "git tag mine", "git pack-refs --all", "git stash push --include-untracked"),
        *("git update-ref refs/heads/main HEAD", "git update-ref -d refs/heads/main"),
    ):
        assert run(api, session_id, f"({attempt}) >/dev/null 2>&1 && echo done") == "", attempt
    run(api, session_id, f"echo x > {source}/README; rm {source}/draft; ln -s /tmp {source}/link")  # in its own /tmp
    assert own(source) == before

    run(api, session_id, "rm README; echo left > left.txt; mkdir -p deep; echo x > deep/file")
    expected = {"README": "deleted", "deep/file": "added", "left.txt": "added", "new.txt": "added"}
    assert changes(api, session_id) == expected
    api.delete_session(session_id)
    eventually(lambda: not (stage.directory / "workspaces" / "demo" / session_id).exists())
    branch = f"ambient/{session_id}"
    assert set(git(source, "ls-tree", "-r", "--name-only", branch).split()) - {AGENTS_OWN} == expected.keys() - {
        "README"
    }
    assert git(source, "log", "--format=%s", branch).splitlines()[1:] == ["second", "first", "README"]
    assert len(git(source, "worktree", "list").splitlines()) == 1
    assert own(source) == before
    git(source, "fsck", "--strict")


def test_an_agent_that_breaks_its_worktree_loses_no_commit(stage: EmbeddedStage, api: Api, source: Path) -> None:
    before = own(source)
    session_id = session_on(stage, api, source, "worktree")
    run(api, session_id, f"echo new > new.txt; {COMMIT} first")
    run(
        api,
        session_id,
        "echo gitdir: /nowhere > .git; d=$(dirname $(find / -name HEAD -path '*worktrees*' 2>/dev/null))",
    )
    run(api, session_id, "echo left > left.txt")
    api.delete_session(session_id)
    eventually(lambda: not (stage.directory / "workspaces" / "demo" / session_id).exists())
    listed = git(source, "ls-tree", "-r", "--name-only", f"ambient/{session_id}").split()
    assert {"README", "left.txt", "new.txt"} <= set(listed)
    assert own(source) == before


def test_in_place_an_agent_works_in_the_directory_and_reaches_no_other(
    stage: EmbeddedStage, api: Api, source: Path, roots: Path
) -> None:
    make_repository(roots, "neighbour", README="other\n")
    session_id = session_on(stage, api, source, "in_place")
    assert run(api, session_id, "cat draft; git branch --show-current") == "mine\nmain"
    assert run(api, session_id, f"echo new > new.txt; {COMMIT} first && git log --format=%s") == "first\nREADME"
    assert run(api, session_id, f"cat {roots}/neighbour/README 2>/dev/null; echo x > {roots}/y") == ""
    assert changes(api, session_id) == {"new.txt": "added"}
    after = files(source)
    api.delete_session(session_id)
    eventually(lambda: api.get_session(session_id).status, lambda status: status == 404)
    assert files(source) == after
    assert not (roots / "y").exists()
    assert git(source, "branch", "--list", "ambient/*") == ""
