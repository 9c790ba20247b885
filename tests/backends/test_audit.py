"""The audit log over every operation on every backend: one line for each change and each refusal, none for the rest."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.models.caller import Role
from app.observability import audit
from tests.backends.test_requests import CHANGING, OPERATIONS, request
from tests.support.api import Api, ApiResponse, unique_project
from tests.support.server import Background
from tests.support.stage import PlatformStage, Stage, embedded_stage, platform_stage

OF_THE_REQUEST = {"time", "operation", "method", "status", "address", "request_id"}
ELSEWHERE = {"list_sessions", "create_session", "list_agents", "whoami"}
"""Operations on no session."""


class Audited:
    """A server of one backend, and the audit log of its requests."""

    def __init__(self, stage: Stage, file: Path) -> None:
        self.stage = stage
        self._file = file

    def send(self, api: Api, operation: str, **options: Any) -> tuple[ApiResponse, list[dict[str, Any]]]:
        """Send a request; return its response and its lines of the log."""
        request_id = uuid4().hex
        headers = {"X-Request-ID": request_id, **options.pop("headers", {})}
        response = request(api, operation, headers=headers, **options)
        return response, [line for line in self._lines() if line.get("request_id") == request_id]

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_bytes().splitlines()] if self._file.exists() else []


@pytest.fixture(scope="module", params=["ambient", "embedded"])
def audited(
    request: pytest.FixtureRequest, loop: Background, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Audited]:
    directory = tmp_path_factory.mktemp("audited")
    file = directory / "audit.log"
    opened = (
        platform_stage(loop, audit_log=file)
        if request.param == "ambient"
        else embedded_stage(loop, directory / "data", audit_log=file)
    )
    with pytest.MonkeyPatch.context() as patch, opened as stage:
        patch.setattr(audit, "MAX_LINES", 1_000_000)
        yield Audited(stage, file)


@pytest.fixture
def api(audited: Audited) -> Iterator[Api]:
    with audited.stage.api() as api:
        yield api


def of_session(operation: str) -> set[str]:
    """Return the field that a line has if its operation is on a session."""
    return set() if operation in ELSEWHERE else {"session"}


def assert_refused(
    audited: Audited, api: Api, operations: Any, error: tuple[int, str], *fields: str, **options: Any
) -> None:
    """Fail unless each operation is refused and leaves one line, with these fields beside those of every line."""
    for operation in operations:
        response, lines = audited.send(api, operation, **options)
        assert response.error == error, operation
        [line] = lines
        assert (line["operation"], line["status"], line["code"]) == (operation, *error)
        named = of_session(operation) if "project" in fields else set()
        assert line.keys() == {*OF_THE_REQUEST, "code", *fields, *named}, operation
        assert line.get("project", api.project) == api.project or error[0] == 401
        assert str(api.token) not in json.dumps(line)


def test_each_request_without_a_token_is_one_line(audited: Audited, api: Api) -> None:
    with api.as_(project=api.project) as nobody:
        assert_refused(audited, nobody, OPERATIONS, (401, "unauthorized"))


def test_each_request_of_a_page_elsewhere_is_one_line(audited: Audited, api: Api) -> None:
    headers = {"X-Forwarded-Access-Token": str(api.token), "Origin": "https://evil.example"}
    with api.as_(project=api.project) as nobody:
        assert_refused(audited, nobody, CHANGING, (403, "origin_not_allowed"), headers=headers)


def test_each_request_with_an_unknown_token_is_one_line(audited: Audited, api: Api) -> None:
    token = "ak_" + "A" * 43
    if isinstance(audited.stage, PlatformStage):
        audited.stage.platform.revoked.add(token)
    with api.as_(token=token, project=api.project) as stranger:
        fields = ["project"] if audited.stage.name == "embedded" else ["project", "caller"]
        assert_refused(audited, stranger, OPERATIONS, (401, "unauthorized"), *fields)


def test_each_request_beyond_a_role_is_one_line(audited: Audited) -> None:
    project = unique_project()
    token = audited.stage.token(project, Role.VIEW)
    if isinstance(audited.stage, PlatformStage):
        audited.stage.platform.tokens[token] = (project, "view")
        audited.stage.platform.add_session(project, "s1", phase="Running")
    operations = CHANGING if audited.stage.name == "embedded" else ["create_session", "delete_session", "send_message"]
    with Api(audited.stage.url, audited.stage.contract, token=token, project=project) as viewer:
        assert_refused(audited, viewer, operations, (403, "forbidden"), "project", "caller")
        if audited.stage.name == "embedded":  # whose keys know their project
            viewer.project = None
            _, [line] = audited.send(viewer, "create_session")
            assert line["project"] == project
    if isinstance(audited.stage, PlatformStage):
        audited.stage.reset()


def test_each_request_for_another_project_is_one_line(audited: Audited, api: Api) -> None:
    with audited.stage.api() as other:
        if isinstance(audited.stage, PlatformStage):
            audited.stage.platform.tokens[str(api.token)] = (str(api.project), "admin")
            audited.stage.platform.add_session(str(other.project), "s1", phase="Running")
        with api.as_(token=api.token, project=other.project) as intruder:
            assert_refused(audited, intruder, OPERATIONS, (403, "forbidden"), "project", "caller")
    if isinstance(audited.stage, PlatformStage):
        audited.stage.reset()


def test_mistakes_leave_no_line(audited: Audited, api: Api) -> None:
    for operation, (path, body) in OPERATIONS.items():
        wrong: list[tuple[dict[str, Any], set[int]]] = [({"query": {"unknown": "1"}}, {400})]
        if path:
            wrong += [({}, {404, 422}), ({"path": ("Bad Name", *path[1:])}, {400})]
        if body is not None:
            wrong += [({"data": b"{"}, {400}), ({"data": b"a=1", "headers": {"Content-Type": "text/plain"}}, {415})]
        for options, statuses in wrong:
            response, lines = audited.send(api, operation, **options)
            assert response.status in statuses, operation
            assert lines == [], operation


def test_what_the_state_of_a_session_forbids_leaves_no_line(audited: Audited, api: Api) -> None:
    session_id = audited.stage.session(api, "stopped")
    for operation in ("send_message", "create_run", "stop_session"):
        response, lines = audited.send(api, operation, path=(session_id,))
        assert (response.status, lines) == (422, [])
    create = {"headers": {"Idempotency-Key": "1"}, "body": {"task": "Say hello", "labels": {"a": "b"}}}
    audited.send(api, "create_session", **create)
    response, lines = audited.send(api, "create_session", **create | {"body": {"task": "Say bye"}})
    assert (response.status, lines) == (409, [])


def test_each_change_is_one_line_and_reading_none(audited: Audited, api: Api) -> None:
    stage, changed = audited.stage, []

    def change(operation: str, session_id: str, *path: str, **options: Any) -> Any:
        response, [line] = audited.send(api, operation, path=(session_id, *path), **options)
        assert response.status < 300, response.content
        expected = {"project": api.project, "session": session_id, "operation": operation, "status": response.status}
        assert expected.items() <= line.items()
        assert line.keys() == OF_THE_REQUEST | {"project", "session", "caller"}
        changed.append(operation)
        return response

    created, [line] = audited.send(api, "create_session")
    assert line["session"] == created.ok()["id"]
    assert line.keys() == OF_THE_REQUEST | {"project", "session", "caller"}
    session_id = stage.session(api, "running")
    change("update_session", session_id)
    change("interrupt_session", session_id)
    change("write_workspace_file", session_id, query={"path": "a.txt"}, data=b"hello")
    run_id = change("send_message", session_id).ok()["run_id"]
    api.wait_for_run(session_id, run_id)
    api.wait_for_run(session_id, change("create_run", session_id).ok()["run_id"])
    run_input = {"threadId": "t", "runId": str(uuid4()), "messages": [{"id": "m", "role": "user", "content": "hello"}]}
    assert change("run_agent", session_id, body=run_input).content
    reads = set(OPERATIONS) - set(CHANGING) - {"stream_session_events"}
    for operation in sorted(reads):
        path = (session_id, run_id)[: len(OPERATIONS[operation][0])]
        query = {"path": "a.txt"} if operation == "read_workspace_file" else None
        assert audited.send(api, operation, path=path, query=query)[1] == []
    if stage.name == "embedded":
        stage.begin_run(api, session_id)
        queued = api.send_message(session_id, "Say hello").ok()["run_id"]
        change("cancel_run", session_id, queued)
        change("interrupt_session", session_id)
        api.say(session_id, "delete notes.txt")
        [approval] = api.list_approvals(session_id).ok()["items"]
        change("answer_approval", session_id, approval["id"])
    change("stop_session", session_id)
    stage.settle(api, session_id, "stopped")
    change("start_session", session_id)
    change("delete_session", session_id)
    left_out = {"create_session", "push_workspace"}
    left_out |= {"cancel_run", "answer_approval"} if stage.name == "ambient" else set()
    assert set(changed) == set(CHANGING) - left_out
