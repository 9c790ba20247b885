"""Behaviour that all operations share on every backend: the order of checks, names, methods, request ids, projects."""

from typing import Any
from uuid import uuid4

import pytest

from app.conform.contract import Contract
from app.models.caller import Role
from tests.support.api import Api
from tests.support.stage import PlatformStage, Stage

RUN = "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"
OPERATIONS: dict[str, tuple[tuple[str, ...], Any]] = {
    "list_sessions": ((), None),
    "create_session": ((), {"task": "Say hello"}),
    "get_session": (("s1",), None),
    "update_session": (("s1",), {"display_name": "Hello"}),
    "delete_session": (("s1",), None),
    "start_session": (("s1",), None),
    "stop_session": (("s1",), None),
    "interrupt_session": (("s1",), None),
    "send_message": (("s1",), {"content": "Say hello"}),
    "create_run": (("s1",), {"messages": [{"role": "user", "content": "Say hello"}]}),
    "list_runs": (("s1",), None),
    "get_run": (("s1", RUN), None),
    "cancel_run": (("s1", RUN), None),
    "list_approvals": (("s1",), None),
    "answer_approval": (("s1", "a1"), {"decision": "allow"}),
    "run_agent": (("s1",), {"threadId": "t", "runId": RUN, "messages": []}),
    "get_session_output": (("s1",), None),
    "stream_session_events": (("s1",), None),
    "get_session_logs": (("s1",), None),
    "list_workspace_files": (("s1",), None),
    "read_workspace_file": (("s1",), None),
    "write_workspace_file": (("s1",), None),
    "get_workspace_archive": (("s1",), None),
    "get_workspace_diff": (("s1",), None),
    "get_workspace_patch": (("s1",), None),
    "push_workspace": (("s1",), {"branch": "work"}),
    "whoami": ((), None),
    "list_agents": ((), None),
}
"""A valid request of each operation, for a session that does not exist."""

READS = [
    "list_sessions",
    "get_session",
    "list_runs",
    "get_run",
    "list_approvals",
    "get_session_output",
    "get_session_logs",
]
BAD_NAMES = ["-", "a-", "-a", "A", "a.b", "a_b", "a b", "a\n", "ü", "a/b", "x" * 64, "a\x00", "%"]
OF_A_SESSION = [name for name, (path, _) in OPERATIONS.items() if path]
CHANGING = [name for name in OPERATIONS if name.partition("_")[0] not in {"get", "list", "read", "stream", "whoami"}]
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


def request(api: Api, operation: str, **options: Any) -> Any:
    """A valid request of an operation, with something changed."""
    path, body = OPERATIONS[operation]
    if "data" not in options:
        options.setdefault("body", body)
    return api.call(operation, *options.pop("path", path), **options)


def test_the_table_above_holds_every_operation(api: Api) -> None:
    assert set(OPERATIONS) == set(api.contract.operations)


class TestTheOrderOfChecks:
    """Route, token, project and names, key, size and type of the body, input, session, state."""

    def test_the_route_goes_before_the_token(self, api: Api) -> None:
        response = api.http.get(f"{api.url}/v1/nothing")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        response = api.http.put(f"{api.url}/v1/sessions")
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")

    @every_operation
    def test_the_token_goes_before_the_names(self, stage: Stage, api: Api, operation: str) -> None:
        with stage.nothing_happens(api), api.as_(project="Bad Name") as nobody:
            path = tuple("Bad Name" for _ in OPERATIONS[operation][0])
            answer = request(nobody, operation, path=path)
        assert answer.error == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    @every_operation
    def test_the_project_goes_before_the_key(self, stage: Stage, api: Api, operation: str) -> None:
        with stage.nothing_happens(api), api.as_(token="unknown", project="Bad Name") as stranger:
            answer = request(stranger, operation)
        assert answer.error == (400, "invalid_request")
        assert answer.faults == ["header.X-Ambient-Project"]

    @pytest.mark.parametrize("operation", OF_A_SESSION)
    def test_the_names_go_before_the_key(self, stage: Stage, api: Api, operation: str) -> None:
        path, _ = OPERATIONS[operation]
        with stage.nothing_happens(api), api.as_(token="unknown", project=api.project) as stranger:
            answer = request(stranger, operation, path=("Bad Name", *path[1:]))
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["path.session_id"])

    def test_the_key_goes_before_the_body(self, embedded: Stage, embedded_api: Api) -> None:
        with embedded_api.as_(token="unknown", project=embedded_api.project) as stranger:
            assert stranger.call("create_session", data=b"x" * 2_000_000).error == (401, "unauthorized")
        with embedded.api(role=Role.VIEW) as viewer:
            assert viewer.call("create_session", data=b"not json").error == (403, "forbidden")

    @pytest.mark.parametrize(
        "operation", ["create_session", "update_session", "send_message", "create_run", "answer_approval"]
    )
    def test_size_and_type_go_before_the_input(self, stage: Stage, api: Api, operation: str) -> None:
        wrong_query = {"unknown": "1"}
        with stage.nothing_happens(api):
            large = request(api, operation, query=wrong_query, data=b"x" * 1_048_577)
            typed = request(api, operation, query=wrong_query, data=b"a=1", headers={"Content-Type": "text/plain"})
        assert large.error == (413, "payload_too_large")
        assert typed.error == (415, "unsupported_media_type")

    @every_operation
    def test_the_input_goes_before_the_session(self, stage: Stage, api: Api, operation: str) -> None:
        with stage.nothing_happens(api):
            answer = request(api, operation, query={"unknown": "1"})
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["query.unknown"])

    @pytest.mark.parametrize("operation", OF_A_SESSION)
    def test_a_session_that_does_not_exist_is_not_found(self, api: Api, operation: str) -> None:
        assert request(api, operation).error == (404, "session_not_found")

    @pytest.mark.parametrize("operation", ["start_session", "stop_session", "interrupt_session"])
    def test_an_operation_without_a_body_takes_none(self, stage: Stage, api: Api, operation: str) -> None:
        with stage.nothing_happens(api):
            answer = request(api, operation, body={"force": True})
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.force"])
        assert request(api, operation, body={}).error == (404, "session_not_found")


class TestNames:
    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_an_impossible_session_is_refused_before_the_backend(self, stage: Stage, api: Api, name: str) -> None:
        with stage.nothing_happens(api):
            found = {what: request(api, what, path=(name, *OPERATIONS[what][0][1:])) for what in OF_A_SESSION}
        refusals = {what: (answer.error, set(answer.faults)) for what, answer in found.items()}
        assert refusals == dict.fromkeys(OF_A_SESSION, ((400, "invalid_request"), {"path.session_id"}))

    @pytest.mark.parametrize("name", ["a", "0", "a-b", "x" * 63, "0-0"])
    def test_every_possible_session_is_looked_for(self, api: Api, name: str) -> None:
        assert api.get_session(name).error == (404, "session_not_found")

    @pytest.mark.parametrize("name", ["-a", "A", "a.b", "a_b", "x" * 64, "a,b"])
    def test_an_impossible_project_is_refused_before_the_backend(self, stage: Stage, api: Api, name: str) -> None:
        with stage.nothing_happens(api), api.as_(token=api.token, project=name) as elsewhere:
            answer = elsewhere.list_sessions()
        assert (answer.error, set(answer.faults)) == ((400, "invalid_request"), {"header.X-Ambient-Project"})


class TestTokens:
    @every_operation
    def test_a_request_without_a_token_is_refused(self, stage: Stage, api: Api, operation: str) -> None:
        with stage.nothing_happens(api), api.as_(project=api.project) as nobody:
            assert request(nobody, operation).error == (401, "unauthorized")

    def test_the_forwarded_token_counts_where_there_is_no_other(self, stage: Stage, api: Api) -> None:
        with api.as_(project=api.project) as nobody:
            forwarded = {"X-Forwarded-Access-Token": str(api.token)}
            assert nobody.call("list_sessions", headers=forwarded).status == 200
            empty = {"Authorization": "Bearer ", **forwarded}
            assert nobody.call("list_sessions", headers=empty).status == 200
            with stage.nothing_happens(api):
                spaced = {"Authorization": "Bearer a b", **forwarded}
                assert nobody.call("list_sessions", headers=spaced).error == (401, "unauthorized")

    @pytest.mark.parametrize("operation", CHANGING)
    @pytest.mark.parametrize(
        "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
    )
    def test_a_page_elsewhere_changes_nothing_with_the_forwarded_token(
        self, stage: Stage, api: Api, operation: str, headers: dict[str, str]
    ) -> None:
        forwarded = {"X-Forwarded-Access-Token": str(api.token), **headers}
        with stage.nothing_happens(api), api.as_(project=api.project) as nobody:
            assert request(nobody, operation, headers=forwarded).error == (403, "origin_not_allowed")

    @pytest.mark.parametrize("origin", ["http://localhost:3000", "the server's own", None])
    def test_our_pages_and_those_that_are_listed_change_things_with_the_forwarded_token(
        self, stage: Stage, api: Api, origin: str | None
    ) -> None:
        session_id = stage.session(api, "running")
        headers = {"X-Forwarded-Access-Token": str(api.token)}
        if origin:
            headers["Origin"] = api.url if origin == "the server's own" else origin
        with api.as_(project=api.project) as nobody:
            assert nobody.call("interrupt_session", session_id, headers=headers).status == 200

    def test_pages_elsewhere_may_do_what_their_own_token_permits(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        headers = {"Origin": "https://evil.example"}
        assert api.call("interrupt_session", session_id, headers=headers).status == 200

    def test_a_page_whose_name_leads_to_the_server_has_no_more_than_others(self, stage: Stage, api: Api) -> None:
        rebound = {"Host": "evil.example:8081", "Origin": "http://evil.example:8081", "Cookie": f"token={api.token}"}
        with stage.nothing_happens(api), api.as_(project=api.project) as nobody:
            for operation in OPERATIONS:
                answer = request(nobody, operation, headers=rebound)
                assert answer.error == (401, "unauthorized")
                assert "Access-Control-Allow-Origin" not in answer.headers

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
    def test_the_scheme_is_read_in_any_case(self, api: Api, scheme: str) -> None:
        assert api.call("list_sessions", headers={"Authorization": f"{scheme} {api.token}"}).status == 200


class TestMethods:
    @pytest.mark.parametrize(
        "operation", ["list_sessions", "get_session", "list_runs", "get_run", "get_session_output"]
    )
    def test_head_is_get_without_the_body(self, stage: Stage, api: Api, operation: str) -> None:
        session_id = stage.session(api, "running")
        run_id = api.list_runs(session_id).ok()["runs"][0]["run_id"]
        path = (session_id, run_id)[: len(OPERATIONS[operation][0])]
        got, head = api.call(operation, *path), api.call(operation, *path, method="HEAD")
        assert (head.status, head.content) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.content))

    def test_head_of_what_is_not_there_is_an_error_without_a_body(self, api: Api) -> None:
        answer = api.call("get_session", "s1", method="HEAD")
        assert (answer.status, answer.content) == (404, b"")

    def test_every_path_tells_its_methods(self, api: Api) -> None:
        contract: Contract = api.contract
        methods: dict[str, set[str]] = {}
        for method, path, _ in contract.operations.values():
            methods.setdefault(path, {"OPTIONS"}).update({method} | ({"HEAD"} if method == "GET" else set()))
        for path, allowed in methods.items():
            url = (
                api.url
                + contract.base
                + path.replace("{session_id}", "s1").replace("{run_id}", RUN).replace("{approval_id}", "a1")
            )
            told = api.http.options(url)
            assert (told.status_code, told.content) == (204, b"")
            refused = api.http.request("PROPFIND", url)
            assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
            for response in (told, refused):
                assert response.headers["Allow"] == ", ".join(sorted(allowed))


class TestRequestIds:
    @every_operation
    def test_the_clients_id_is_on_the_answer(self, api: Api, operation: str) -> None:
        sent = f"test.{uuid4()}_1"
        answer = request(api, operation, headers={"X-Request-ID": sent})
        assert answer.headers["X-Request-ID"] == sent

    @pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "ü".encode(), "a;b"])
    def test_a_malformed_id_is_replaced(self, api: Api, sent: str | bytes) -> None:
        response = api.http.get(f"{api.url}/v1/sessions", headers={"X-Request-ID": sent})
        assert response.status_code == 401
        assert response.headers["X-Request-ID"] == response.json()["request_id"] != sent

    @every_operation
    def test_every_call_of_the_platform_carries_it(
        self, ambient: PlatformStage, ambient_api: Api, operation: str
    ) -> None:
        before = len(ambient.platform.requests)
        request(ambient_api, operation, headers={"X-Request-ID": "mine-1"})
        calls = ambient.platform.requests[before:]
        assert calls
        assert {call.headers["x-request-id"] for call in calls} == {"mine-1"}
        assert {call.headers["authorization"] for call in calls} == {f"Bearer {ambient_api.token}"}
        assert {call.project for call in calls} == {ambient_api.project}


class TestBodies:
    @pytest.mark.parametrize(
        "data",
        [
            *(
                b"",
                b"{",
                b"[]",
                b"null",
                b'"text"',
                b"{}{}",
                b'{"task":NaN}',
                b'{"task":"\\ud800"}',
                b'{"task":"\xff"}',
            ),
            *(b'\xef\xbb\xbf{"task":"x"}', b'{"task":"x","task":"y"}', b"[" * 100_000),
        ],
        ids=lambda data: repr(data[:20]),
    )
    def test_what_is_no_object_in_strict_json_is_refused(self, stage: Stage, api: Api, data: bytes) -> None:
        with stage.nothing_happens(api):
            answer = api.call("create_session", data=data)
        assert answer.error == (400, "invalid_request")

    def test_a_chunked_body_without_a_type_is_read(self, api: Api) -> None:
        answer = api.call("create_session", data=iter([b'{"task":', b'"Say hello"}']))
        assert (answer.status, answer.body["task"]) == (201, "Say hello")

    @pytest.mark.parametrize("type_", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"'])
    def test_the_type_is_compared_without_case(self, api: Api, type_: str) -> None:
        answer = api.call("create_session", data=b'{"task":"x"}', headers={"Content-Type": type_})
        assert answer.status == 201
