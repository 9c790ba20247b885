"""Conditional requests: data that has not changed is not sent again."""

from typing import Any

import pytest

from tests.support.api import Api, ApiResponse
from tests.support.stage import EmbeddedStage, PlatformStage

READS: list[tuple[str, dict[str, Any]]] = [
    ("get_session_output", {}),
    ("get_session_output", {"format": "events"}),
    ("get_session_output", {"format": "compact", "after": 1}),
    ("get_session_output", {"format": "events", "run_id": ""}),
    ("list_runs", {}),
    ("list_runs", {"status": "completed"}),
    ("get_run", {}),
]


@pytest.fixture
def session_id(embedded: EmbeddedStage, embedded_api: Api) -> str:
    session_id = embedded.session(embedded_api, "running")
    embedded_api.say(session_id, "hello")
    return session_id


def read(api: Api, session_id: str, operation: str, query: dict[str, Any], *tags: str) -> ApiResponse:
    [*_, run] = api.list_runs(session_id).ok()["runs"]
    names = [run["run_id"]] if operation == "get_run" else []
    query = {name: value or run["run_id"] for name, value in query.items()}
    headers = {"If-None-Match": ", ".join(tags)} if tags else {}
    return api.call(operation, session_id, *names, query=query, headers=headers)


@pytest.mark.parametrize(("operation", "query"), READS)
def test_unchanged_data_is_not_sent_again(
    embedded_api: Api, session_id: str, operation: str, query: dict[str, Any]
) -> None:
    tag = read(embedded_api, session_id, operation, query).headers["ETag"]
    for known in ([tag], ['"another"', tag], [tag.removeprefix("W/")]):
        again = read(embedded_api, session_id, operation, query, *known)
        assert (again.status, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(("operation", "query"), READS)
def test_changed_data_is_sent_with_another_tag(
    embedded_api: Api, session_id: str, operation: str, query: dict[str, Any]
) -> None:
    tag = read(embedded_api, session_id, operation, query).headers["ETag"]
    embedded_api.say(session_id, "and now?")
    response = read(embedded_api, session_id, operation, query, tag)
    assert response.status == 200
    assert response.headers["ETag"] != tag


def test_every_read_has_a_tag_of_its_own(embedded_api: Api, session_id: str) -> None:
    tags = [read(embedded_api, session_id, operation, query).headers["ETag"] for operation, query in READS]
    assert len(set(tags)) == len(READS)


@pytest.mark.parametrize("known", ["", "*", "nonsense", '"', 'W/"another"', '"5f1c0f4e9c5b4f0b8a3a0d3c2b1a4e6d'])
def test_a_tag_that_is_not_ours_changes_nothing(embedded_api: Api, session_id: str, known: str) -> None:
    assert read(embedded_api, session_id, "list_runs", {}, known).status == 200


def test_a_cancelled_queued_run_changes_the_runs(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running")
    embedded.begin_run(embedded_api, session_id)
    before = embedded_api.list_runs(session_id).headers["ETag"]
    queued = embedded_api.send_message(session_id, "next").ok()["run_id"]
    between = embedded_api.list_runs(session_id).headers["ETag"]
    embedded_api.cancel_run(session_id, queued).ok()
    after = embedded_api.list_runs(session_id).headers["ETag"]
    assert len({before, between, after}) == 3 or (before == after != between)


def test_a_long_poll_has_no_tag(embedded_api: Api, session_id: str) -> None:
    [*_, run] = embedded_api.list_runs(session_id).ok()["runs"]
    response = embedded_api.call(
        "get_run", session_id, run["run_id"], query={"wait": 1}, headers={"If-None-Match": "*"}
    )
    assert response.status == 200
    assert "ETag" not in response.headers


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"run_id": "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"}, (404, "run_not_found")),
        ({"format": "events", "after": 1000}, (409, "cursor_expired")),
        ({"after": 1}, (400, "invalid_request")),
    ],
)
def test_an_error_is_an_error_whatever_the_client_has(
    embedded_api: Api, session_id: str, query: dict[str, Any], error: tuple[int, str]
) -> None:
    response = embedded_api.call("get_session_output", session_id, query=query, headers={"If-None-Match": "*"})
    assert response.error == error


def test_an_unknown_session_has_no_tag(embedded_api: Api) -> None:
    response = embedded_api.call("list_runs", "nowhere", headers={"If-None-Match": "*"})
    assert response.error == (404, "session_not_found")


def test_the_platform_gives_no_tags(ambient: PlatformStage, ambient_api: Api) -> None:
    session_id = ambient.session(ambient_api, "running")
    response = ambient_api.call("get_session_output", session_id, headers={"If-None-Match": "*"})
    assert response.status == 200
    assert "ETag" not in response.headers
