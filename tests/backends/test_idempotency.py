"""Idempotency-Key on every backend: the same request has its effect once, and the first answer is given again."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from app.models.caller import Role
from tests.support.api import Api, ApiResponse
from tests.support.stage import Stage

SAY = {"content": "list the files"}
RUN = {"messages": [{"role": "user", "content": "list the files"}], "state": {"a": 1, "b": [1.5, 10**30]}}
creating = pytest.mark.parametrize(
    ("operation", "body"), [("create_session", {"task": "Say hello"}), ("send_message", SAY), ("create_run", RUN)]
)


def send(api: Api, operation: str, *path: str, key: str, **request: Any) -> ApiResponse:
    return api.call(operation, *path, headers={"Idempotency-Key": key}, **request)


def replayed(answer: ApiResponse) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def path_of(stage: Stage, api: Api, operation: str) -> tuple[str, ...]:
    return () if operation == "create_session" else (stage.session(api, "running"),)


def made(api: Api, path: tuple[str, ...]) -> int:
    """How many sessions there are, or runs of the session."""
    return len(api.list_runs(*path).ok()["runs"] if path else api.list_sessions(limit=100).ok()["items"])


@creating
def test_the_first_answer_comes_again_and_nothing_is_made_twice(
    stage: Stage, api: Api, operation: str, body: Any
) -> None:
    path = path_of(stage, api, operation)
    before, key = made(api, path), str(uuid4())
    first = send(api, operation, *path, key=key, body=body)
    again = [send(api, operation, *path, key=key, body=body) for _ in range(2)]
    assert first.status < 300
    assert [(a.status, a.content, a.headers["Location"]) for a in again] == [
        (first.status, first.content, first.headers["Location"])
    ] * 2
    assert [replayed(answer) for answer in (first, *again)] == [False, True, True]
    assert made(api, path) == before + 1


@creating
def test_without_a_key_or_with_another_the_same_request_counts_anew(
    stage: Stage, api: Api, operation: str, body: Any
) -> None:
    path = path_of(stage, api, operation)
    before = made(api, path)
    answers = [api.call(operation, *path, body=body) for _ in range(2)]
    answers += [send(api, operation, *path, key=f"{number} of {uuid4()}", body=body) for number in range(2)]
    assert [(answer.status < 300, replayed(answer)) for answer in answers] == [(True, False)] * 4
    assert made(api, path) == before + 4


def test_the_same_request_may_be_written_differently(api: Api) -> None:
    key = "written"
    workflow = {"git_url": "https://git.invalid/flows", "path": "a"}
    first = {"task": "Say hällo", "active_workflow": workflow, "environment_variables": {"A": "1", "B": "2"}}
    again = {
        "environmentVariables": {"B": "2", "A": "1"},
        "activeWorkflow": {"path": "a", "gitUrl": workflow["git_url"]},
    }
    made_first = send(api, "create_session", key=key, body=first)
    answer = send(
        api,
        "create_session",
        key=key,
        data=json.dumps({**again, "model": None, "display_name": "", "task": "Say hällo"}, indent=4).encode(),
    )
    assert (answer.ok(), replayed(answer)) == (made_first.ok(), True)


class TestAnotherRequest:
    def test_a_key_that_came_with_another_request_is_refused(self, stage: Stage, api: Api) -> None:
        session_id, other = stage.session(api, "running"), stage.session(api, "running")
        first = send(api, "send_message", session_id, key="k", body=SAY)
        runs, sessions = made(api, (session_id,)), made(api, ())
        refused = [
            send(api, "send_message", session_id, key="k", body={"content": "list the files "}),
            send(api, "send_message", other, key="k", body=SAY),
            send(api, "create_run", session_id, key="k", body={"messages": [{"role": "user", **SAY}]}),
            send(api, "create_session", key="k", body={"task": "list the files"}),
        ]
        assert [answer.error for answer in refused] == [(409, "idempotency_key_reused")] * 4
        assert (made(api, (session_id,)), made(api, ())) == (runs, sessions)
        assert send(api, "send_message", session_id, key="k", body=SAY).ok() == first.ok()

    def test_a_key_is_the_caller_s_own(self, stage: Stage, api: Api) -> None:
        body = {"task": "Say hello"}
        first = send(api, "create_session", key="mine", body=body).ok()
        with stage.api() as elsewhere, stage.api(api.project, Role.EDIT) as colleague:
            others = [send(other, "create_session", key="mine", body=body) for other in (elsewhere, colleague)]
        assert [replayed(other) for other in others] == [False, False]
        assert len({first["id"], *(other.ok()["id"] for other in others)}) == 3


class TestErrors:
    def test_a_refusal_is_not_kept(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "stopped")
        refused = send(api, "send_message", session_id, key="k", body=SAY)
        assert refused.error == (422, "session_not_running")
        api.start_session(session_id).ok()
        stage.settle(api, session_id, "running")
        accepted = send(api, "send_message", session_id, key="k", body={"content": "something else"})
        assert (accepted.status, replayed(accepted)) == (202, False)

    def test_a_run_that_exists_is_a_conflict_until_the_key_says_that_it_is_the_same(
        self, stage: Stage, api: Api
    ) -> None:
        session_id, run = stage.session(api, "running"), {**RUN, "run_id": str(uuid4())}
        first = send(api, "create_run", session_id, key="k", body=run)
        assert send(api, "create_run", session_id, key="k", body=run).ok() == first.ok()
        assert send(api, "create_run", session_id, key="l", body=run).error == (409, "run_exists")

    @pytest.mark.parametrize("key", ["", "ü".encode(), "x" * 256, "a\tb"])
    def test_a_malformed_key_is_refused_before_the_backend(self, stage: Stage, api: Api, key: Any) -> None:
        with stage.nothing_happens(api):
            answer = send(api, "create_session", key=key, body={"task": "Say hello"})
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["header.Idempotency-Key"])

    @pytest.mark.parametrize("key", ["!", "~ ~", "x" * 255])
    def test_every_printable_key_counts(self, api: Api, key: str) -> None:
        answers = [send(api, "create_session", key=key, body={"task": "Say hello"}) for _ in range(2)]
        assert [(answer.status, replayed(answer)) for answer in answers] == [(201, False), (201, True)]

    def test_the_key_goes_before_a_malformed_idempotency_key(self, embedded_api: Api) -> None:
        with embedded_api.as_(token="unknown", project=embedded_api.project) as stranger:
            assert send(stranger, "create_session", key="", body={}).error == (401, "unauthorized")


def test_an_answer_is_kept_when_what_it_tells_of_is_gone(stage: Stage, api: Api) -> None:
    session_id = stage.session(api, "running")
    said = send(api, "send_message", session_id, key="said", body=SAY)
    api.delete_session(session_id)
    again = send(api, "send_message", session_id, key="said", body=SAY)
    assert (again.content, replayed(again)) == (said.content, True)


def test_of_many_at_once_one_has_the_effect(api: Api) -> None:
    def create(_number: int) -> ApiResponse:
        with api.as_(token=api.token, project=api.project) as another:
            return send(another, "create_session", key="crowd", body={"task": "Say hello"})

    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(create, range(24)))
    assert made(api, ()) == 1
    assert [replayed(answer) for answer in answers if answer.status == 201].count(False) == 1
    assert {answer.error for answer in answers if answer.status != 201} <= {(409, "idempotency_key_in_use")}
