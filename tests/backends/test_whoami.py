"""`whoami` on every backend: project, role, key and capabilities."""

import pytest

from app.models.caller import Role
from app.port.backend import FEATURES, OPERATIONS
from app.sandbox.sandbox import detect
from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage


def test_the_operations_are_those_of_the_document(stage: Stage) -> None:
    assert set(stage.contract.operations) == OPERATIONS


@pytest.mark.parametrize("role", list(Role))
def test_a_key_is_described_without_its_secret(embedded: EmbeddedStage, role: Role) -> None:
    with embedded.api(role=role) as api:
        answer = api.whoami()
        missing = {"local_directories"} | (set() if detect("auto").in_force else {"sandbox"})
        key = answer.ok()["key"]
        assert answer.body == {
            "project": api.project,
            "role": role,
            "key": {"id": key["id"], "name": "test"},
            "backend": "embedded",
            "capabilities": sorted((OPERATIONS | FEATURES) - missing),
            "limits": {
                "max_streams": 100,
                "max_sessions": 10_000,
                "max_run_bytes": 256 * 2**20,
                "max_session_bytes": 2**30,
                "max_project_bytes": 10 * 2**30,
                "max_workspace_bytes": 32 * 2**30,
                "max_project_workspace_bytes": 256 * 2**30,
            },
            "usage": {"sessions": 0, "stored_bytes": 0, "workspace_bytes": 0},
        }


def test_usage_follows_the_sessions_of_the_project(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running")
    with embedded.api(embedded_api.project, Role.VIEW) as viewer:  # who sees the project's as everybody does
        usage = viewer.whoami().ok()["usage"]
        assert usage["sessions"] == 1
        assert usage["stored_bytes"] > 0
        embedded_api.stop_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "stopped")
        assert viewer.whoami().ok()["usage"]["sessions"] == 0
        embedded_api.delete_session(session_id).ok()
        assert viewer.whoami().ok()["usage"]["stored_bytes"] == 0


def test_the_platform_alone_knows_the_role(ambient: PlatformStage, ambient_api: Api) -> None:
    answer = ambient_api.whoami().ok()
    assert (answer["project"], answer["backend"]) == (ambient_api.project, "ambient")
    assert not {"role", "key"} & answer.keys()
    assert {"create_session", "timeout_seconds"} <= set(answer["capabilities"])
    session_id = ambient.session(ambient_api, "running")
    run_id = ambient_api.say(session_id, "Say hello")["run_id"]
    assert "cancel_run" not in answer["capabilities"]
    assert ambient_api.cancel_run(session_id, run_id).error == (422, "not_supported")


def test_an_unknown_token_is_refused(embedded: EmbeddedStage, embedded_api: Api) -> None:
    stranger = Api(embedded.url, embedded.contract, token="ak_unknown", project=embedded_api.project)
    assert stranger.whoami().error == (401, "unauthorized")
