"""Sessions on local directories, over HTTP and with the demo agent."""

from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.repositories import git, make_repository
from tests.support.stage import EmbeddedStage, PlatformStage


@pytest.fixture
def source(roots: Path, request: pytest.FixtureRequest) -> Path:
    """A repository of the user's; one for each test."""
    name = request.node.name
    make_repository(roots, name, README="shop\n")
    return roots / str(name)


def session_on(local_api: Api, source: Path, **more: str) -> str:
    """Create a session that writes a file, and return its id once that is done."""
    workspace = {"path": str(source), **more}
    created = local_api.create_session(task="write new.txt hello", workspace=workspace).ok()
    assert created["workspace"] == {"mode": "worktree"} | workspace
    local_api.wait_for_run(created["id"], created["run_id"], "completed")
    return str(created["id"])


def test_a_worktree_has_the_agents_work_on_a_branch(local_api: Api, source: Path) -> None:
    session_id = session_on(local_api, source)
    [changed] = local_api.diff(session_id).ok()["files"]
    assert (changed["path"], changed["status"]) == ("new.txt", "added")
    assert not (source / "new.txt").exists()
    local_api.stop_session(session_id)
    local_api.wait_for_status(session_id, "stopped")
    local_api.start_session(session_id)
    local_api.wait_for_status(session_id, "running")
    assert local_api.diff(session_id).ok()["file_count"] == 1
    local_api.delete_session(session_id)
    eventually(lambda: git(source, "worktree", "list").splitlines(), lambda listed: len(listed) == 1)
    assert git(source, "show", f"ambient/{session_id}:new.txt") == "hello\n"


def test_in_place_the_directory_itself_has_it_and_stays(local_api: Api, source: Path) -> None:
    (source / "draft").write_text("from before\n")
    session_id = session_on(local_api, source, mode="in_place")
    assert [file["path"] for file in local_api.diff(session_id).ok()["files"]] == ["new.txt"]
    local_api.write_file(session_id, "README", b"changed\n")
    local_api.delete_session(session_id)
    assert {entry.name for entry in source.iterdir()} == {".git", "README", "draft", "new.txt"}
    assert (source / "README").read_text() == "changed\n"


def test_a_directory_that_is_not_permitted_is_refused(local: EmbeddedStage, local_api: Api, source: Path) -> None:
    outside = local_api.create_session(task="x", workspace={"path": "/etc"})
    assert (outside.error, outside.faults) == ((400, "invalid_request"), ["body.workspace.path"])
    both = local_api.create_session(task="x", workspace={"path": str(source)}, repos=[{"url": "https://example.com/x"}])
    assert both.faults == ["body.repos"]
    with local.api() as other:
        assert other.create_session(task="x", workspace={"path": str(source)}).faults == ["body.workspace.path"]
    assert "local_directories" in local_api.whoami().ok()["capabilities"]


def test_the_platform_has_no_local_directories(ambient: PlatformStage, ambient_api: Api, source: Path) -> None:
    with ambient.nothing_happens(ambient_api):
        answer = ambient_api.create_session(task="x", workspace={"path": str(source)})
    assert answer.error == (422, "not_supported")
