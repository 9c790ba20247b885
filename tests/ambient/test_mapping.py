"""The platform's JSON as sessions, pages and bodies, of any version and with wrong types."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import labels
from app.backends.ambient import mapping, session_state
from app.backends.ambient.errors import sanitize
from app.backends.ambient.resources import Page, Resource, _convert, reader
from app.models.sessions import Repo, Session, SessionCreate, SessionPage, SessionStatus, Workflow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)

read_session, read_page = reader(Resource), reader(Page)


def resource(value: dict[str, Any]) -> Resource:
    """Return the session in a response of the platform."""
    read = read_session(msgspec.json.encode(value))
    assert read
    return read


def page(value: dict[str, Any], *, limit: int, offset: int) -> SessionPage:
    read = read_page(msgspec.json.encode(value))
    assert read
    return mapping.page(read, limit=limit, offset=offset)


STORED: dict[str, Any] = {
    "apiVersion": "vteam.ambient-code/v1alpha1",
    "kind": "AgenticSession",
    "metadata": {"name": "session-1", "creationTimestamp": "2026-03-09T13:00:00Z", "managedFields": [{}]},
    "spec": {
        "initialPrompt": "Fix the bug",
        "displayName": "Bug fix",
        "llmSettings": {"model": "claude-sonnet-4-5", "temperature": 0.7, "maxTokens": 0},
        "timeout": 0,
        "environmentVariables": {"SECRET": "x"},
        "repos": [{"url": "https://github.com/o/r", "branch": "main", "autoPush": False}],
    },
    "status": {"phase": "Completed", "completionTime": "2026-03-09T15:00:00+01:00"},
    "autoBranch": "ambient/session-1",
}


def test_session_of_a_current_platform_has_all_fields() -> None:
    assert mapping.session(resource(STORED), "session-1") == Session(
        id="session-1",
        status=SessionStatus.COMPLETED,
        display_name="Bug fix",
        task="Fix the bug",
        model="claude-sonnet-4-5",
        repos=[Repo(url="https://github.com/o/r", branch="main")],
        created_at="2026-03-09T13:00:00Z",
        completed_at="2026-03-09T14:00:00Z",
    )


def test_session_of_an_older_platform_has_all_fields() -> None:
    old = {
        "name": "s1",
        "spec": {"prompt": "Go", "model": "opus", "repos": [{"input": {"url": "https://x/y", "branch": "b"}}]},
        "status": {"phase": "Succeeded", "result": "Done"},
    }
    assert mapping.session(resource(old), "s1") == Session(
        id="s1",
        status=SessionStatus.COMPLETED,
        task="Go",
        model="opus",
        repos=[Repo(url="https://x/y", branch="b")],
        result="Done",
    )


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        ("Pending", "pending"),
        ("Creating", "pending"),
        ("Initializing", "pending"),
        ("Running", "running"),
        ("Active", "running"),
        ("Completed", "completed"),
        ("Succeeded", "completed"),
        ("Failed", "failed"),
        ("Error", "failed"),
        ("Stopping", "stopping"),
        ("Stopped", "stopped"),
        ("Hibernating", "unknown"),
        ("Unknown", "unknown"),
    ],
)
def test_each_phase_has_its_status(phase: str, status: str) -> None:
    assert mapping.session(resource({"status": {"phase": phase}}), "s").status == status


@pytest.mark.parametrize("status", [None, {}, {"phase": ""}, {"phase": None}, {"phase": 7}, [], "Running"])
def test_session_without_a_phase_is_pending(status: Any) -> None:
    assert mapping.phase(resource({"status": status})) is None
    assert mapping.session(resource({"status": status}), "s").status is SessionStatus.PENDING


def failed(**status: Any) -> str | None:
    return mapping.session(resource({"status": {"phase": "Failed"} | status}), "s").error


def ready(message: Any, reason: Any = "PodFailed") -> list[Any]:
    return [{"type": "PodCreated", "message": "made"}, "x", {"type": "Ready", "message": message, "reason": reason}]


def test_error_of_a_failed_session_is_that_of_its_ready_condition() -> None:
    assert failed(conditions=ready("Runner exited with code 2")) == "Runner exited with code 2"


def test_error_of_the_status_of_an_older_platform_comes_first() -> None:
    assert failed(error="Out of memory", conditions=ready("Other")) == "Out of memory"


def test_error_is_the_reason_when_the_message_reveals_internals() -> None:
    assert failed(conditions=ready("Failed to pull quay.io/x/runner:latest", "ImagePullBackOff")) == "ImagePullBackOff"
    assert failed(conditions=ready("dial tcp 10.0.0.1:443", 7)) == "Session failed"
    assert failed(error="http://inside/") == "Session failed"


def test_error_is_absent_when_the_session_did_not_fail() -> None:
    running = {"status": {"phase": "Running", "conditions": ready("Session is running")}}
    assert mapping.session(resource(running), "s").error is None


@given(value=st.dictionaries(st.sampled_from(["name", "metadata", "spec", "status", "items", "hasMore"]), JSON))
def test_wrong_types_count_as_absent_at_every_level(value: dict[str, Any]) -> None:
    session = mapping.session(resource(value), "s")
    assert session.id
    assert session.error is None or isinstance(session.error, str)
    page(value, limit=20, offset=0)
    mapping.created_name(resource(value))
    mapping.accepted_ids(value)


SOUND = {
    "name": st.text(max_size=3),
    "metadata": st.fixed_dictionaries({}, optional={"name": st.text(max_size=3), "annotations": st.just({"a": 1})}),
    "spec": st.fixed_dictionaries(
        {},
        optional={
            "timeout": st.integers(),
            "repos": st.lists(st.fixed_dictionaries({}, optional={"url": st.text(), "input": st.just({"url": "x"})})),
            "llmSettings": st.fixed_dictionaries({}, optional={"model": st.text(max_size=3)}),
        },
    ),
    "status": st.fixed_dictionaries({}, optional={"conditions": st.just([{"type": "Ready", "message": "m"}])}),
}


@given(
    value=st.fixed_dictionaries({}, optional=SOUND),
    broken=st.fixed_dictionaries({}, optional=dict.fromkeys(SOUND, JSON)),
)
def test_decoding_at_once_and_member_by_member_agree(value: dict[str, Any], broken: dict[str, Any]) -> None:
    kind = msgspec.inspect.type_info(Page)
    for items in ([value], [value, broken], [broken, 1]):
        body = msgspec.json.encode({"items": items})
        assert read_page(body) == _convert(kind, msgspec.json.decode(body))


@given(
    inner=st.dictionaries(
        st.sampled_from(
            ["name", "phase", "error", "conditions", "repos", "llmSettings", "creationTimestamp", "completionTime"]
        ),
        JSON,
    )
)
def test_wrong_types_count_as_absent_one_level_down(inner: dict[str, Any]) -> None:
    session = mapping.session(resource({"metadata": inner, "spec": inner, "status": inner}), "s")
    assert session.repos is None or all(repo.url for repo in session.repos)
    assert session.created_at is None or session.created_at.endswith("Z")


@pytest.mark.parametrize(
    "time", ["", "yesterday", 1773061200, None, "0001-01-01T00:00:00+10:00", "2026-13-01T00:00:00Z"]
)
def test_invalid_time_counts_as_absent(time: Any) -> None:
    assert mapping.session(resource({"metadata": {"creationTimestamp": time}}), "s").created_at is None


def test_session_in_transition_has_no_end() -> None:
    old = {"status": {"phase": "Failed", "completionTime": "2026-03-09T13:00:00Z", "error": "x", "result": "y"}}
    assert mapping.in_transition(resource(old), "s", SessionStatus.PENDING) == Session(
        id="s", status=SessionStatus.PENDING
    )


def test_create_body_has_only_the_given_fields() -> None:
    assert mapping.new_session(SessionCreate(task="Go")) == {"initialPrompt": "Go"}


def test_create_body_has_all_fields_in_the_platforms_words() -> None:
    new = SessionCreate(
        task="Go",
        display_name="N",
        model="m",
        repos=[Repo(url="https://x/y"), Repo(url="https://x/z", branch="b")],
        active_workflow=Workflow(git_url="https://x/w", path="p"),
        environment_variables={"A": "b"},
    )
    assert mapping.new_session(new) == {
        "initialPrompt": "Go",
        "displayName": "N",
        "llmSettings": {"model": "m"},
        "repos": [{"url": "https://x/y"}, {"url": "https://x/z", "branch": "b"}],
        "activeWorkflow": {"gitUrl": "https://x/w", "path": "p"},
        "environmentVariables": {"A": "b"},
    }


def test_missing_totals_of_a_page_are_worked_out() -> None:
    got = page({"items": [{"name": "a"}, {"name": "b"}], "totalCount": 5}, limit=2, offset=2)
    assert (got.total, got.has_more, got.next_offset) == (5, True, 4)
    got = page({"items": [{"name": "a"}]}, limit=2, offset=2)
    assert (got.total, got.has_more, got.next_offset) == (3, False, None)


def test_page_has_no_more_sessions_than_were_asked_for() -> None:
    got = page({"items": [{"name": f"s{number}"} for number in range(1000)], "nextOffset": 1000}, limit=2, offset=4)
    assert ([session.id for session in got.items], got.has_more, got.next_offset) == (["s0", "s1"], True, 6)


@pytest.mark.parametrize("number", [-1, 2**31, 2**53, 10**30])
def test_number_that_no_client_can_read_is_left_out(number: int) -> None:
    got = page({"items": [{"name": "a"}], "totalCount": number, "nextOffset": number}, limit=2, offset=0)
    assert (got.total, got.next_offset) == (1, None)
    annotations = {mapping.IDLE_TIMEOUT: str(number)}
    stored = resource({"metadata": {"annotations": annotations}, "spec": {"timeout": number}})
    session = mapping.session(stored, "s1")
    assert (session.timeout_seconds, session.idle_timeout_seconds) == (None, None)


def test_pages_end_where_no_offset_leads_further() -> None:
    got = page({"items": [{"name": "a"}], "hasMore": True}, limit=1, offset=2**31 - 1)
    assert (got.has_more, got.next_offset) == (False, None)


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", "../../x", "x" * 100_000, "-", "A B"])
def test_session_has_the_id_by_which_it_was_found(name: str) -> None:
    assert mapping.session(resource({"metadata": {"name": name}}), "s1").id == "s1"


@pytest.mark.parametrize(("given", "taken"), [("x" * 1025, None), ("a\nb", "a\nb"), ("r1", "r1")])
def test_accepted_run_id_fits_into_a_header(given: str, taken: str | None) -> None:
    assert mapping.accepted_ids({"runId": given, "threadId": "t1"}) == (taken, "t1")


@pytest.mark.parametrize("given", ["a\x1b[31m", "x" * 256, "\x00", ""])
def test_accepted_thread_id_is_one_that_the_api_knows(given: str) -> None:
    assert mapping.accepted_ids({"runId": "r1", "threadId": given}) == ("r1", None)


def test_nothing_long_is_remembered_of_a_session() -> None:
    remembered = [mapping._rfc3339.cache_info, labels._is_key.cache_info, session_state._millis.cache_info]
    before = [info().misses for info in remembered]
    long = "2026-03-09T13:00:00.0" + "0" * 100_000 + "Z"
    stored = resource(
        {"metadata": {"creationTimestamp": long, "annotations": {long: "a"}}, "status": {"startTime": long}}
    )
    assert mapping.session(stored, "s1").created_at is None
    assert session_state.SessionState.of(stored).since == 0
    assert [info().misses for info in remembered] == before


def test_empty_page_is_the_last_one() -> None:
    got = page({"items": None, "totalCount": 5, "hasMore": True, "nextOffset": 0}, limit=2, offset=0)
    assert (got.items, got.has_more, got.next_offset) == ([], False, None)


def test_large_session_is_not_cached() -> None:
    task = "x" * mapping.MAX_CACHED_BYTES
    before = mapping._cached_session.cache_info().currsize
    got = page({"items": [{"name": "large", "spec": {"initialPrompt": task}}]}, limit=20, offset=0)
    assert [(session.id, session.task) for session in got.items] == [("large", task)]
    assert mapping._cached_session.cache_info().currsize == before


def test_changed_session_is_not_taken_from_the_cache() -> None:
    for phase, status in (("Running", SessionStatus.RUNNING), ("Stopped", SessionStatus.STOPPED)):
        got = page({"items": [{"name": "a", "status": {"phase": phase}}]}, limit=20, offset=0)
        assert [session.status for session in got.items] == [status]


def test_sessions_without_a_name_that_a_path_can_have_are_left_out_of_a_page() -> None:
    names = [{"metadata": {"name": name}} for name in ("a-b", "a.b", "x" * 63, "x" * 64)]
    got = page({"items": [*names, {}, "x"]}, limit=20, offset=0)
    assert [session.id for session in got.items] == ["a-b", "x" * 63]


@pytest.mark.parametrize("name", [None, "", 7, "../x", "a b", "A", "-a", "a\n", "x" * 254])
def test_created_name_is_none_when_no_resource_can_have_it(name: Any) -> None:
    assert mapping.created_name(resource({"name": name})) is None


@pytest.mark.parametrize(
    "text",
    [
        'Post "http://session-s.proj.svc.cluster.local:8001/interrupt": dial tcp',
        "lookup backend: no such host",
        "see https://inside",
        "backend-service:8080 refused",
        "pod runner.my-project.svc is gone",
        "cannot reach 10.1.2.3",
        "cannot reach fe80::1",
        '{"detail":"No active session manager"}',
        "[]",
        "two\nlines",
        "alarm\x07",
        "open /var/run/secrets",
        "User system:serviceaccount:p:k may not",
        "json: cannot unmarshal string into Go struct field RunAgentInput.messages",
        "context deadline exceeded",
        "read: connection reset by peer",
        "unexpected EOF",
        "<html>",
        "x" * 301,
        " ",
        None,
        7,
    ],
)
def test_text_that_reveals_internals_is_replaced(text: Any) -> None:
    assert sanitize(text) == "Request failed"


@pytest.mark.parametrize(
    "text",
    [
        "Session not found",
        "Unauthorized to access project",
        "Model is not available for this runner type",
        "Runner type 'x' is not enabled. Contact your platform administrator.",
        "Runner 'x' requires at least one of [ANTHROPIC_API_KEY] in ambient-runner-secrets. Configure keys.",
        "Model gemini-2.5-flash is not enabled",
        "Runner error: HTTP 500",
        "Cannot modify session specification while the session is running",
    ],
)
def test_plain_sentence_of_the_platform_is_passed_on(text: str) -> None:
    assert sanitize(text) == text
