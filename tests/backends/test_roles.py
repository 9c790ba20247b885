"""Who may do what: access keys on the embedded backend, the platform's own judgement on the other."""

import base64
import json
from datetime import timedelta

import pytest

from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.backends.test_requests import OPERATIONS, request
from tests.support.api import Api, unique_project
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage, PlatformStage

RANK = [Role.VIEW, Role.EDIT, Role.ADMIN]


class TestAccessKeys:
    @pytest.mark.parametrize("role", RANK)
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_each_operation_needs_the_role_that_the_document_names(
        self, embedded: EmbeddedStage, operation: str, role: Role
    ) -> None:
        with embedded.api(role=role) as api:
            needed = Role(api.contract.operations[operation][2]["x-role"])
            answer = request(api, operation)
        if RANK.index(role) < RANK.index(needed):
            assert answer.error == (403, "forbidden")
        else:
            found = {"list_sessions": 200, "create_session": 201, "whoami": 200, "list_agents": 200}
            assert answer.status == found.get(operation, 404)

    def test_the_keys_project_is_the_default_project(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        with embedded_api.as_(token=embedded_api.token) as unnamed:
            assert unnamed.get_session(session_id).status == 200

    def test_another_project_is_forbidden(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        with embedded.api() as other, embedded_api.as_(token=embedded_api.token, project=other.project) as intruder:
            session_id = embedded.session(other, "running")
            assert intruder.list_sessions().error == (403, "forbidden")
            assert intruder.get_session(session_id).error == (403, "forbidden")

    def test_an_unknown_key_is_refused(self, embedded_api: Api) -> None:
        for token in ("ak_" + "A" * 43, "x", str(embedded_api.token)[:-1], str(embedded_api.token) + "A"):
            with embedded_api.as_(token=token, project=embedded_api.project) as stranger:
                assert stranger.list_sessions().error == (401, "unauthorized")

    def test_a_revoked_key_is_refused_at_once(self, embedded: EmbeddedStage) -> None:
        project = unique_project()
        with AccessKeys.open(embedded.store) as keys:
            key, secret = keys.create(project=project, role=Role.VIEW)
            with Api(embedded.url, embedded.contract, token=secret) as api:
                assert api.list_sessions().status == 200
                keys.revoke(key.id)
                assert api.list_sessions().error == (401, "unauthorized")

    def test_a_key_is_refused_once_it_has_expired(self, embedded: EmbeddedStage) -> None:
        with AccessKeys.open(embedded.store) as keys:
            _, secret = keys.create(project=unique_project(), role=Role.VIEW, expires=timedelta(milliseconds=500))
        with Api(embedded.url, embedded.contract, token=secret) as api:
            assert api.list_sessions().status == 200
            refused = eventually(api.list_sessions, lambda answer: answer.status != 200)
            assert refused.error == (401, "unauthorized")


class TestThePlatformsJudgement:
    @pytest.fixture
    def roles(self, ambient: PlatformStage, ambient_api: Api) -> dict[Role, str]:
        """Tokens of each role in the project of `ambient_api`."""
        project = str(ambient_api.project)
        tokens = {role: ambient.token(project, role) for role in RANK}
        ambient.platform.tokens.update({token: (project, role) for role, token in tokens.items()})
        return tokens

    def test_an_unknown_token_is_refused(self, ambient_api: Api, roles: dict[Role, str]) -> None:
        assert roles
        with ambient_api.as_(token="unknown", project=ambient_api.project) as stranger:
            for operation in OPERATIONS:
                answer = request(stranger, operation)
                assert answer.error == (401, "unauthorized")
                assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_another_project_is_forbidden(self, ambient_api: Api, roles: dict[Role, str]) -> None:
        with ambient_api.as_(token=roles[Role.ADMIN], project=unique_project()) as intruder:
            for operation in OPERATIONS:
                assert request(intruder, operation).error == (403, "forbidden")

    def test_a_viewer_reads_and_does_no_more(
        self, ambient: PlatformStage, ambient_api: Api, roles: dict[Role, str]
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        with ambient_api.as_(token=roles[Role.VIEW], project=ambient_api.project) as viewer:
            assert viewer.get_session(session_id).status == 200
            assert viewer.output(session_id).status == 200
            assert viewer.send_message(session_id, "x").error == (403, "forbidden")
            assert viewer.interrupt_session(session_id).error == (403, "forbidden")
            for refused in (viewer.stop_session(session_id), viewer.delete_session(session_id)):
                assert refused.error == (403, "forbidden")
            assert viewer.create_session(task="x").error == (403, "forbidden")

    def test_the_project_of_a_service_account_is_the_default_project(
        self, ambient: PlatformStage, ambient_api: Api
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        token = service_account(str(ambient_api.project))
        with ambient_api.as_(token=token) as unnamed, ambient_api.as_(token=token, project="other") as mismatched:
            assert unnamed.get_session(session_id).status == 200
            assert mismatched.get_session(session_id).error == (400, "project_mismatch")
        with ambient_api.as_(token="opaque") as nowhere:
            answer = nowhere.get_session(session_id)
        assert answer.error == (400, "project_required")
        assert "X-Ambient-Project" in answer.body["error"]


def service_account(namespace: str) -> str:
    """The token of a service account; nobody here checks its signature."""
    claims = json.dumps({"sub": f"system:serviceaccount:{namespace}:ambient-key-1"}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig"
