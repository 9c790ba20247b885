"""Faults of the platform: clients get errors that the document describes and that reveal no internals."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from app.backends.ambient import mapping
from tests.backends.test_requests import OPERATIONS, request
from tests.support import platform_failures as fault
from tests.support.api import Api, ApiResponse, check_error
from tests.support.platform import FakePlatform
from tests.support.platform_failures import Reaction, error, respond
from tests.support.server import Background, free_port
from tests.support.stage import PlatformStage, platform_server, platform_stage

CALLS = [
    ("list_sessions", "list"),
    ("create_session", "create"),
    ("get_session", "get"),
    ("delete_session", "delete"),
    ("start_session", "get"),
    ("start_session", "start"),
    ("stop_session", "get"),
    ("stop_session", "stop"),
    ("interrupt_session", "get"),
    ("interrupt_session", "interrupt"),
    ("send_message", "get"),
    ("send_message", "run"),
    ("create_run", "get"),
    ("create_run", "run"),
    ("list_runs", "get"),
    ("list_runs", "export"),
    ("get_run", "get"),
    ("get_run", "export"),
    ("get_session_output", "get"),
    ("get_session_output", "export"),
]
"""The operations of a session's life, each with each call of the platform that it needs."""

ALL_CALLS = [
    *CALLS,
    ("list_approvals", "get"),
    ("list_approvals", "export"),
    ("get_session_logs", "get"),
    ("get_session_logs", "pod_events"),
    ("list_agents", "models"),
    ("whoami", "list"),
]


def of_text(text: str) -> dict[str, Any]:
    """Return what is a session, a list of them, an accepted run and a log, with this text wherever one is expected."""
    ids = {"runId": text, "threadId": text, "messageId": text, "toolCallId": text, "timestamp": text}
    call = {"id": text, "function": {"name": text, "arguments": text}}
    message = {"id": text, "role": "assistant", "content": text, "toolCalls": [call]}
    events: list[dict[str, Any]] = [
        {"type": "RUN_STARTED", **ids, "input": {"messages": [{"id": text, "role": "user", "content": text}]}},
        {"type": "TEXT_MESSAGE_START", **ids, "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", **ids, "delta": text},
        {"type": "TOOL_CALL_START", **ids, "toolCallName": text},
        {"type": "TOOL_CALL_ARGS", **ids, "delta": text},
        {"type": "TOOL_CALL_RESULT", **ids, "content": text},
        {"type": "MESSAGES_SNAPSHOT", **ids, "messages": [message]},
        {"type": "RUN_ERROR", **ids, "message": text},
    ]
    times = {"startTime": text, "lastActivityTime": text, "completionTime": text}
    return {
        "metadata": {"name": text, "creationTimestamp": text, "annotations": {text: text, mapping.PARENT: text}},
        "spec": {"displayName": text, "initialPrompt": text, "repos": [{"url": text, "branch": text}]},
        "status": {"phase": "Running", "result": text, "error": text, "agentStatus": text, **times},
        "items": [{"metadata": {"name": text}}, {"metadata": {"name": "s1"}}],
        "aguiEvents": events,
        "name": text,
        "message": text,
        **ids,
    }


UNUSABLE: dict[str, Reaction] = {
    "cut before the head": fault.disconnect,
    "cut in the body": fault.truncate,
    "redirect": fault.redirect,
    "sign-in page": fault.html,
    "null": respond(200, None),
    "list": respond(200, []),
    "text": respond(200, "ok"),
    "number": respond(200, 17),
    "truncated": respond(200, b'{"items":[{"metadata":{"name":"s1"'),
    "two values": respond(200, b"{}{}"),
    "not UTF-8": respond(200, b'{"message":"\xff","aguiEvents":[{"type":"\xff"}]}'),
    "nested without end": respond(200, b'{"metadata":' * 50_000),
    "empty": respond(200, b""),
    "unexpected success": respond(299, {}),
    "not modified": respond(304, b""),
}
"""Responses that cannot be used."""

ODD: dict[str, Reaction] = {
    "wrong types": respond(
        200,
        dict.fromkeys(("metadata", "spec", "status", "items", "aguiEvents", "name", "runId", "totalCount"), 5),
    ),
    "wrong types inside": respond(
        200,
        {
            "metadata": {"name": ["s1"], "creationTimestamp": 17},
            "spec": {"initialPrompt": {}, "repos": [1, {"url": 2}, {"input": []}], "llmSettings": []},
            "status": {"phase": "Running", "conditions": {}, "completionTime": "yesterday", "error": [1]},
            "items": [1, None, [], {"metadata": {"name": "s1"}}],
            "aguiEvents": [1, None, "x", {}, {"type": 5, "runId": [], "timestamp": "now"}],
            "totalCount": -1,
            "hasMore": "yes",
        },
    ),
    "JSON called text": respond(200, {"metadata": {"name": "s1"}, "status": {"phase": 1}}, content_type="text/plain"),
    "empty object": respond(200, {}),
    "nulls": respond(200, dict.fromkeys(("metadata", "spec", "status", "items", "aguiEvents", "name", "runId"))),
    "lone surrogates": respond(
        200, b'{"runId":"\\ud800","name":"\\ud800","aguiEvents":[{"type":"\\ud800"}],"items":[]}'
    ),
    "control characters": respond(200, of_text("a\n\x00\x1b[31m\u202e")),
    "endless words": respond(200, of_text("x" * 70_000)),
    "huge numbers": respond(200, b'{"totalCount":1e999,"items":[],"aguiEvents":[{"timestamp":1e999,"runId":"r"}]}'),
}
"""Responses that can be decoded but have few of the expected members."""

LEAKS = [
    'Post "http://session-s1.demo.svc.cluster.local:8001/interrupt": dial tcp: lookup session-s1: no such host',
    "dial tcp 10.0.12.7:8001: connect: connection refused",
    "backend-service:8080 gave up",
    "could not reach postgres.internal.example.com",
    '{"detail":"No session manager"}',
    "Traceback (most recent call last):\n  File main.py",
    "goroutine 1 [running]: main.main()",
    "open /var/lib/backend/sessions: permission denied",
    "fe80::1%eth0 unreachable",
    "<html>Bad gateway</html>",
    "x" * 5_000,
    "",
    "\u2028",
]
WITHOUT_A_TEXT = [b"", b"oops", b"null", b'["x"]', b'{"error":{"message":"x"}}', b'{"message":"x"}', b'{"error":7}']
STATUSES = [400, 402, 405, 408, 409, 410, 412, 413, 415, 418, 422, 429, 431, 500, 501, 502, 503, 504, 507, 599]

every_call = pytest.mark.parametrize(("operation", "call"), CALLS)


@pytest.fixture
def fake(ambient: PlatformStage, ambient_api: Api) -> FakePlatform:
    """The platform, with a session for every operation."""
    fake = ambient.platform
    fake.add_session(str(ambient_api.project), "s1", phase="Running")
    fake.runner.logs.pop("s1", None)
    return fake


def response_while(fake: FakePlatform, api: Api, operation: str, call: str, reaction: Reaction) -> ApiResponse:
    """Return the response to an operation while the platform reacts like this to one of its calls."""
    fake.set_phase(str(api.project), "s1", "Stopped" if operation == "start_session" else "Running")
    fake.always(call, reaction)
    got = request(api, operation)
    assert isinstance(got, ApiResponse)
    return got


Everywhere = Callable[[Reaction], dict[tuple[str, str], ApiResponse]]


@pytest.fixture
def everywhere(
    ambient: PlatformStage, ambient_api: Api, fake: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> Everywhere:
    """Return the responses to all operations while the platform reacts like this to each of their calls."""
    monkeypatch.setattr("app.backends.ambient.api._CONFLICT_PAUSES", (0.0, 0.0, 0.0, 0.0))

    def answers(reaction: Reaction) -> dict[tuple[str, str], ApiResponse]:
        found = {}
        for operation, call in ALL_CALLS:
            ambient.reset()
            fake.add_session(str(ambient_api.project), "s1")
            found[operation, call] = response_while(fake, ambient_api, operation, call, reaction)
        return found

    return answers


def errors_of(found: dict[tuple[str, str], ApiResponse]) -> dict[tuple[str, str], tuple[int, str, str]]:
    return {where: (got.status, got.body["code"], got.body["error"]) for where, got in found.items()}


def assert_nothing_leaks(got: ApiResponse, fake: FakePlatform) -> None:
    text = got.content.decode().replace(got.headers["X-Request-ID"], "")  # which may have the digits of the port
    port = fake.url.rpartition(":")[2]
    for internal in (
        "://",
        "127.0.0.1",
        port,
        "svc",
        "Traceback",
        "aiohttp",
        "msgspec",
        "agentic-sessions",
        "token-of",
    ):
        assert internal not in text


class TestEveryOperation:
    @pytest.mark.parametrize("reaction", UNUSABLE.values(), ids=UNUSABLE)
    def test_unusable_response_is_502(self, everywhere: Everywhere, reaction: Reaction) -> None:
        text = "The backend is unreachable or its response was unusable; try again."
        assert errors_of(everywhere(reaction)) == dict.fromkeys(ALL_CALLS, (502, "backend_unavailable", text))

    @pytest.mark.parametrize("reaction", ODD.values(), ids=ODD)
    def test_odd_response_is_never_an_internal_error(
        self, everywhere: Everywhere, fake: FakePlatform, reaction: Reaction
    ) -> None:
        found = everywhere(reaction)
        assert {got.status for got in found.values()} <= {200, 201, 202, 204, 404, 409, 422, 502}
        for got in found.values():
            assert_nothing_leaks(got, fake)

    @pytest.mark.parametrize("status", STATUSES)
    def test_error_has_the_status_and_text_of_the_platform(self, everywhere: Everywhere, status: int) -> None:
        text = "The model is not available here."
        found = everywhere(error(status, text))
        assert errors_of(found) == dict.fromkeys(ALL_CALLS, (status, "backend_error", text))

    @pytest.mark.parametrize("text", LEAKS, ids=lambda text: text[:20])
    def test_text_that_reveals_internals_is_replaced(self, everywhere: Everywhere, text: str) -> None:
        found = everywhere(error(500, text))
        assert errors_of(found) == dict.fromkeys(ALL_CALLS, (500, "backend_error", "Request failed"))

    @pytest.mark.parametrize("body", WITHOUT_A_TEXT)
    def test_error_without_a_text_gets_one(self, everywhere: Everywhere, body: bytes) -> None:
        found = everywhere(respond(503, body))
        assert errors_of(found) == dict.fromkeys(ALL_CALLS, (503, "backend_error", "Request failed"))

    @pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
    def test_refusal_of_a_token_is_passed_on(self, everywhere: Everywhere, status: int, code: str) -> None:
        text = "Token expired or invalid"
        assert errors_of(everywhere(error(status, text))) == dict.fromkeys(ALL_CALLS, (status, code, text))

    def test_missing_session_is_not_found(self, everywhere: Everywhere) -> None:
        for (operation, call), got in everywhere(error(404, "Session not found")).items():
            if call in {"get", "delete", "start", "stop"}:
                assert got.error == (404, "session_not_found")
            elif operation == "get_run":
                assert got.error == (404, "run_not_found")
            elif call in {"export", "models"}:
                assert got.status == 200
            elif call == "pod_events":
                assert got.error == (422, "not_supported")
            else:
                assert got.error == (404, "backend_error")


@pytest.fixture(scope="module")
def hasty(loop: Background) -> Iterator[PlatformStage]:
    with platform_stage(loop, timeout=0.5) as stage:
        yield stage


def assert_timeout(stage: PlatformStage, operation: str, call: str, reaction: Reaction) -> None:
    stage.reset()
    with stage.api() as api:
        stage.platform.add_session(str(api.project), "s1", phase="Running")
        got = response_while(stage.platform, api, operation, call, reaction)
    assert got.error == (504, "backend_timeout")
    assert got.body["error"] == "The backend did not respond in time; check whether the request took effect."


class TestSlowPlatform:
    @every_call
    def test_response_that_does_not_begin_is_504(self, hasty: PlatformStage, operation: str, call: str) -> None:
        assert_timeout(hasty, operation, call, fault.hang)

    @pytest.mark.parametrize(("call", "operation"), {call: operation for operation, call in CALLS}.items())
    def test_response_that_stalls_is_504(self, hasty: PlatformStage, operation: str, call: str) -> None:
        assert_timeout(hasty, operation, call, fault.stall)

    def test_server_is_not_ready(self, hasty: PlatformStage) -> None:
        hasty.reset()
        assert_ready(hasty.url, 200)
        hasty.platform.always("health", fault.hang)
        assert_ready(hasty.url, 503)


@pytest.fixture(scope="module")
def unreachable(loop: Background) -> Iterator[PlatformStage]:
    platform = FakePlatform()
    platform.url = f"http://127.0.0.1:{free_port()}"
    with platform_server(platform, loop, timeout=30) as stage:
        yield stage


class TestUnreachablePlatform:
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_operation_is_502(self, unreachable: PlatformStage, operation: str) -> None:
        with unreachable.api() as api:
            got = request(api, operation)
        assert got.error == (502, "backend_unavailable")
        assert_nothing_leaks(got, unreachable.platform)

    def test_server_is_healthy_but_not_ready(self, unreachable: PlatformStage) -> None:
        assert_ready(unreachable.url, 503)
        assert requests.get(f"{unreachable.url}/health", timeout=10).json() == {"status": "ok"}


def assert_ready(url: str, status: int) -> None:
    response = requests.get(f"{url}/ready", timeout=10)
    assert response.status_code == status
    if status == 200:
        assert response.json() == {"status": "ready"}
    else:
        check_error(response)


class TestUntrustedPlatform:
    def test_redirect_is_not_followed(self, ambient_api: Api, fake: FakePlatform) -> None:
        before = len(fake.requests)
        response_while(fake, ambient_api, "get_session", "get", fault.redirect)
        assert fake.operations()[before:] == ["get"]

    def test_cookie_is_not_stored(self, ambient_api: Api, fake: FakePlatform) -> None:
        cookie = respond(200, {"items": []}, **{"Set-Cookie": "session=secret; Path=/"})
        response_while(fake, ambient_api, "list_sessions", "list", cookie)
        got = request(ambient_api, "list_sessions")
        assert "cookie" not in fake.last("list").headers
        assert "Set-Cookie" not in got.headers

    @pytest.mark.parametrize(
        "name", ["", "../x", "a b", "a\r\nX-Injected: 1", "a/b", "-a", "A", "ü", "x" * 254, 7, None]
    )
    def test_created_session_with_an_impossible_name_is_502(
        self, ambient_api: Api, fake: FakePlatform, name: Any
    ) -> None:
        got = response_while(fake, ambient_api, "create_session", "create", respond(201, {"name": name}))
        assert got.error == (502, "backend_unavailable")

    @pytest.mark.parametrize("run_id", ["a/b", "ü", "a\r\nX-Injected: 1", "x" * 300, "../..", "?a=b#c", 7, "", None])
    def test_location_of_a_run_is_a_path_whatever_its_id(
        self, ambient_api: Api, fake: FakePlatform, run_id: Any
    ) -> None:
        got = response_while(
            fake, ambient_api, "send_message", "run", respond(200, {"runId": run_id, "threadId": "s1"})
        )
        assert got.status == 202
        assert isinstance(got.body["run_id"], str)
        assert "X-Injected" not in got.headers
        if isinstance(run_id, str) and run_id:
            assert unquote(got.headers["Location"]) == f"/v1/sessions/s1/runs/{run_id}"

    @pytest.mark.parametrize("reaction", [*UNUSABLE.values(), error(500, "x"), error(404, "x")])
    def test_created_session_is_returned_even_if_it_cannot_be_read_back(
        self, ambient_api: Api, fake: FakePlatform, reaction: Reaction
    ) -> None:
        fake.always("get", reaction)
        got = ambient_api.create_session(task="Say hello", display_name="Hello")
        assert got.status == 201
        expected = {"status": "pending", "task": "Say hello", "display_name": "Hello", "message": "Session created"}
        assert got.body == {"id": fake_name(got)} | expected

    @pytest.mark.parametrize(("operation", "call"), [("start_session", "start"), ("stop_session", "stop")])
    def test_start_and_stop_are_tried_again_after_a_500(
        self, ambient_api: Api, fake: FakePlatform, operation: str, call: str
    ) -> None:
        fake.set_phase(str(ambient_api.project), "s1", "Stopped" if call == "start" else "Running")
        before = len(fake.requests)
        fake.next(call, error(500, "Failed to update session"))
        assert request(ambient_api, operation).status == 202
        assert [one for one in fake.operations()[before:] if one != "access"] == ["get", call, call]

    def test_session_that_is_deleted_while_it_stops_is_not_found(self, ambient_api: Api, fake: FakePlatform) -> None:
        gone = respond(200, {"message": "Session no longer exists (already deleted)"})
        got = response_while(fake, ambient_api, "stop_session", "stop", gone)
        assert got.error == (404, "session_not_found")

    def test_log_of_another_project_is_not_found(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient_api.say(session_id, "A secret")
        with ambient.api() as other:
            for got in (other.output(session_id), other.list_runs(session_id), other.get_run(session_id, "x")):
                assert got.error == (404, "session_not_found")
            assert other.send_message(session_id, "x").error == (404, "session_not_found")

    def test_identity_headers_of_the_client_are_not_passed_on(self, ambient_api: Api, fake: FakePlatform) -> None:
        identity = {"X-Forwarded-User": "root", "X-Forwarded-Groups": "admins", "Cookie": "a=b", "X-Other": "1"}
        ambient_api.call("get_session", "s1", headers=identity)
        assert not {name.lower() for name in identity} & set(fake.last("get").headers)


def fake_name(got: ApiResponse) -> str:
    return got.headers["Location"].removeprefix("/v1/sessions/")
