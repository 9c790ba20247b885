"""`whoami` on every backend: project, role, key and capabilities."""

import pytest

from app.backend import FEATURES, OPERATIONS
from app.models.caller import Role
from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage


def test_the_operations_are_those_of_the_document(stage: Stage) -> None:
    assert set(stage.contract.operations) == OPERATIONS


@pytest.mark.parametrize("role", list(Role))
def test_a_key_is_described_without_its_secret(embedded: EmbeddedStage, role: Role) -> None:
    with embedded.api(role=role) as api:
        answer = api.whoami()
        key = answer.ok()["key"]
        assert answer.body == {
            "project": api.project,
            "role": role,
            "key": {"id": key["id"], "name": "test"},
            "backend": "embedded",
            "capabilities": sorted(OPERATIONS | FEATURES),
        }


def test_the_platform_alone_knows_the_role(platform: PlatformStage, platform_api: Api) -> None:
    answer = platform_api.whoami().ok()
    assert (answer["project"], answer["backend"]) == (platform_api.project, "ambient")
    assert not {"role", "key"} & answer.keys()
    assert {"create_session", "timeout_seconds"} <= set(answer["capabilities"])
    session_id = platform.session(platform_api, "running")
    assert "list_approvals" not in answer["capabilities"]
    assert platform_api.list_approvals(session_id).error == (422, "not_supported")


def test_an_unknown_token_is_refused(embedded: EmbeddedStage, embedded_api: Api) -> None:
    stranger = Api(embedded.url, embedded.contract, token="ak_unknown", project=embedded_api.project)
    assert stranger.whoami().error == (401, "unauthorized")
