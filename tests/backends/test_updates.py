"""Labels, time limits, parents and changes of sessions on every backend."""

from typing import Any

import pytest

from tests.support import platform_failures as failures
from tests.support.api import Api
from tests.support.stage import STATES, EmbeddedStage, PlatformStage, Stage

RESERVED = ["app.kubernetes.io/a", "kubectl.kubernetes.io/a", "vteam.ambient-code/a", "ambient-code.io/desired-phase"]
LONG_PREFIX = f"{'a' * 60}." * 5 + "com/x"


def ids(api: Api, *label: str, **query: Any) -> list[str]:
    """The ids that a list by labels has, whose total is their number."""
    page = api.list_sessions(label=list(label), **query).ok()
    assert page["total"] == len(page["items"])
    return [item["id"] for item in page["items"]]


class TestLabels:
    def test_labels_are_read_back_and_listed(self, stage: Stage, api: Api) -> None:
        labels = {"team": "checkout", "example.com/ticket": "SHOP-17", "empty": ""}
        session_id = stage.session(api, "running", labels=labels)
        assert api.get_session(session_id).ok()["labels"] == labels
        assert [item["labels"] for item in api.list_sessions().ok()["items"]] == [labels]

    def test_a_session_without_labels_has_none(self, api: Api) -> None:
        bodies: tuple[dict[str, Any], ...] = ({}, {"labels": None}, {"labels": {}})
        for body in bodies:
            assert "labels" not in api.create_session(task="x", **body).ok()

    def test_all_labels_of_a_filter_must_match(self, stage: Stage, api: Api) -> None:
        one = stage.session(api, "running", labels={"team": "shop", "tier": "1"})
        two = stage.session(api, "stopped", labels={"team": "shop", "tier": "", "example.com/x": "a"})
        stage.session(api, "running")
        assert ids(api, "team=shop") == [two, one]
        assert ids(api, "team=shop", "tier=1") == [one]
        assert ids(api, "tier=") == [two]
        assert ids(api, "example.com/x=a", "team=shop") == [two]
        assert ids(api, "team=shop", "team=cart") == ids(api, "team=sho") == ids(api, "x=a") == []
        assert ids(api, "team=shop", status="stopped") == [two]
        assert ids(api, "team=shop", search=one) == [one]

    def test_a_filter_and_pages_work_together(self, stage: Stage, api: Api) -> None:
        made = [stage.session(api, "running", labels={"odd": str(number % 2)}) for number in range(5)]
        page = api.list_sessions(label="odd=0", limit=2).ok()
        assert [item["id"] for item in page.pop("items")] == [made[4], made[2]]
        assert page == {"total": 3, "limit": 2, "offset": 0, "has_more": True, "next_offset": 2}

    def test_labels_of_another_project_are_not_found(self, stage: Stage, api: Api) -> None:
        with stage.api() as other:
            stage.session(other, "running", labels={"team": "shop"})
            assert ids(other, "team=shop")
            assert ids(api, "team=shop") == []

    @pytest.mark.parametrize("key", RESERVED)
    def test_a_reserved_prefix_is_refused(self, stage: Stage, api: Api, key: str) -> None:
        session_id = stage.session(api, "running")
        with stage.nothing_happens(api):
            answers = [
                api.create_session(task="x", labels={key: "v"}),
                api.update_session(session_id, labels={key: "v"}),
                api.update_session(session_id, labels={key: None}),
            ]
        for answer in answers:
            assert (answer.error, answer.faults) == ((400, "invalid_request"), [f"body.labels.{key}"])

    @pytest.mark.parametrize(
        ("labels", "fault"),
        [
            ({"-a": "v"}, "body.labels.-a"),
            ({"a b": "v"}, "body.labels.a b"),
            ({"a/b/c": "v"}, "body.labels.a/b/c"),
            ({"": "v"}, "body.labels."),
            ({"a": "two words"}, "body.labels.a"),
            ({"a": "x" * 64}, "body.labels.a"),
            ({"a": 1}, "body.labels.a"),
            ({LONG_PREFIX: "v"}, f"body.labels.{LONG_PREFIX}"),
            ({f"k{number}": "" for number in range(65)}, "body.labels"),
            (["a=b"], "body.labels"),
        ],
    )
    def test_bad_labels_are_refused(self, stage: Stage, api: Api, labels: Any, fault: str) -> None:
        session_id = stage.session(api, "running")
        with stage.nothing_happens(api):
            answers = api.create_session(task="x", labels=labels), api.update_session(session_id, labels=labels)
        for answer in answers:
            assert (answer.error, set(answer.faults)) == ((400, "invalid_request"), {fault})

    @pytest.mark.parametrize("label", ["", "team", "=v", "-a=v", "a=b=c", "a=b c", "a/=v"])
    def test_a_bad_filter_is_refused(self, stage: Stage, api: Api, label: str) -> None:
        with stage.nothing_happens(api):
            answer = api.list_sessions(label=label)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["query.label[0]"])

    def test_the_platforms_own_annotations_are_no_labels(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running", labels={"team": "shop"})
        annotations = ambient.platform.sessions[str(ambient_api.project)][session_id]["metadata"]["annotations"]
        annotations |= {"ambient-code.io/desired-phase": "Running", "note": "two words", "wrong": 7}
        assert ambient_api.get_session(session_id).ok()["labels"] == {"team": "shop"}


class TestParents:
    def test_the_parent_is_read_back(self, stage: Stage, api: Api) -> None:
        parent = stage.session(api, "running")
        child = api.create_session(task="x", parent_session_id=parent).ok()
        assert child["parent_session_id"] == parent
        assert api.get_session(child["id"]).ok()["parent_session_id"] == parent

    def test_a_parent_of_no_or_another_project_is_refused(self, stage: Stage, api: Api) -> None:
        with stage.api() as other:
            theirs = stage.session(other, "running")
        for parent in ("no-such-session", theirs):
            answer = api.create_session(task="x", parent_session_id=parent)
            assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.parent_session_id"])
        assert api.list_sessions().ok()["total"] == 0

    def test_a_parent_that_cannot_be_read_fails_as_it_fails(self, ambient: PlatformStage, ambient_api: Api) -> None:
        ambient.platform.next("get", failures.error(403, "Unauthorized"))
        answer = ambient_api.create_session(task="x", parent_session_id="s1")
        assert answer.error == (403, "forbidden")

    @pytest.mark.parametrize("parent", ["A", "-a", "x" * 64, "a/b", 7])
    def test_an_impossible_parent_is_refused(self, stage: Stage, api: Api, parent: Any) -> None:
        with stage.nothing_happens(api):
            answer = api.create_session(task="x", parent_session_id=parent)
        assert (answer.error, set(answer.faults)) == ((400, "invalid_request"), {"body.parent_session_id"})

    def test_a_child_outlives_its_parent(self, stage: Stage, api: Api) -> None:
        parent = stage.session(api, "running")
        child = stage.session(api, "running", parent_session_id=parent)
        api.delete_session(parent).ok()
        assert api.get_session(child).ok()["parent_session_id"] == parent


class TestUpdateSession:
    @pytest.mark.parametrize("status", STATES)
    def test_name_and_labels_change_in_every_state(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status, display_name="Old", labels={"team": "shop", "kept": "yes"})
        before = api.get_session(session_id).ok()
        answer = api.update_session(session_id, display_name="New", labels={"team": "cart", "more": ""})
        assert answer.status == 200
        assert answer.body == before | {
            "display_name": "New",
            "labels": {"team": "cart", "kept": "yes", "more": ""},
        }
        assert api.get_session(session_id).ok() == answer.body

    @pytest.mark.parametrize("body", [{}, {"display_name": None, "labels": None}, {"display_name": "", "labels": {}}])
    def test_what_is_absent_stays(self, stage: Stage, api: Api, body: dict[str, Any]) -> None:
        session_id = stage.session(api, "running", display_name="Name", labels={"team": "shop"})
        before = api.get_session(session_id).ok()
        assert api.update_session(session_id, **body).ok() == before

    def test_a_new_name_is_searched_and_the_old_one_is_not(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running", display_name="Old")
        api.update_session(session_id, display_name="Brand NEW").ok()
        assert [item["id"] for item in api.list_sessions(search="brand new").ok()["items"]] == [session_id]
        assert api.list_sessions(search="old").ok()["items"] == []

    def test_new_labels_are_found_and_old_ones_are_not(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running", labels={"team": "shop"})
        api.update_session(session_id, labels={"team": "cart"}).ok()
        assert (ids(api, "team=cart"), ids(api, "team=shop")) == ([session_id], [])

    def test_a_session_of_another_project_is_not_found(self, stage: Stage, api: Api) -> None:
        with stage.api() as other:
            theirs = stage.session(other, "running")
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"display_name": "x"},
            {"labels": {"a": "b"}},
            {"timeout_seconds": 9},
        )
        for body in changes:
            assert api.update_session(theirs, **body).error == (404, "session_not_found")

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({"display_name": " \t"}, "body.display_name"),
            ({"display_name": "x" * 256}, "body.display_name"),
            ({"display_name": "a\x00"}, "body.display_name"),
            ({"timeout_seconds": 0}, "body.timeout_seconds"),
            ({"timeout_seconds": 1.5}, "body.timeout_seconds"),
            ({"timeout_seconds": 2**31}, "body.timeout_seconds"),
            ({"timeout_seconds": "60"}, "body.timeout_seconds"),
            ({"task": "x"}, "body.task"),
            ({"parent_session_id": "s1"}, "body.parent_session_id"),
            ({"remove_labels": "team"}, "body.remove_labels"),
            ({"remove_labels": [None]}, "body.remove_labels[0]"),
            ({"remove_labels": ["ok", "a b"]}, "body.remove_labels[1]"),
            ({"remove_labels": ["ambient-code.io/x"]}, "body.remove_labels[0]"),
            ({"remove_labels": [f"a{number}" for number in range(65)]}, "body.remove_labels"),
            ({"labels": {"team": "shop"}, "remove_labels": ["team"]}, "body.remove_labels[0]"),
        ],
    )
    def test_a_bad_change_is_refused(self, stage: Stage, api: Api, body: dict[str, Any], fault: str) -> None:
        session_id = stage.session(api, "running")
        with stage.nothing_happens(api):
            answer = api.update_session(session_id, **body)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])


class TestUpdateOnTheEmbeddedBackend:
    def test_a_label_that_is_null_goes(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running", labels={"team": "shop", "kept": "yes"})
        changed = embedded_api.update_session(session_id, labels={"team": None, "unknown": None}).ok()
        assert changed["labels"] == {"kept": "yes"}
        assert "labels" not in embedded_api.update_session(session_id, labels={"kept": None}).ok()
        assert ids(embedded_api, "team=shop") == []

    def test_a_label_is_removed_by_its_key_alone(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running", labels={"team": "shop", "kept": "yes"})
        changed = embedded_api.update_session(session_id, remove_labels=["team", "unknown"], labels={"new": ""}).ok()
        assert changed["labels"] == {"kept": "yes", "new": ""}
        assert ids(embedded_api, "team=shop") == []

    def test_too_many_labels_are_refused_and_nothing_changes(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        full = {f"key-{number}": "" for number in range(64)}
        session_id = embedded.session(embedded_api, "running", labels=full)
        answer = embedded_api.update_session(session_id, display_name="New", labels={"one-more": ""})
        assert answer.error == (422, "too_many_labels")
        session = embedded_api.get_session(session_id).ok()
        assert (session["labels"], "display_name" in session) == (full, False)

    def test_a_time_limit_is_read_back_and_changed(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running", timeout_seconds=60)
        assert embedded_api.get_session(session_id).ok()["timeout_seconds"] == 60
        assert embedded_api.update_session(session_id, timeout_seconds=2**31 - 1).ok()["timeout_seconds"] == 2**31 - 1
        assert embedded_api.update_session(session_id, timeout_seconds=None).ok()["timeout_seconds"] == 2**31 - 1

    def test_the_active_run_is_told_while_it_lasts(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        assert "active_run_id" not in embedded_api.get_session(session_id).ok()
        run_id = embedded.begin_run(embedded_api, session_id)
        assert embedded_api.get_session(session_id).ok()["active_run_id"] == run_id
        assert [item["active_run_id"] for item in embedded_api.list_sessions().ok()["items"]] == [run_id]
        embedded_api.interrupt_session(session_id).ok()
        assert "active_run_id" not in embedded_api.get_session(session_id).ok()


class TestUpdateOnThePlatform:
    def test_labels_limit_and_parent_are_sent_in_its_words(self, ambient: PlatformStage, ambient_api: Api) -> None:
        parent = ambient.session(ambient_api, "running")
        ambient_api.create_session(task="x", labels={"a": "1"}, timeout_seconds=60, parent_session_id=parent).ok()
        assert ambient.platform.last("create").json() == {
            "initialPrompt": "x",
            "annotations": {"a": "1"},
            "timeout": 60,
            "parent_session_id": parent,
        }

    def test_each_change_goes_to_its_endpoint(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "stopped")
        before = len(ambient.platform.requests)
        ambient_api.update_session(session_id, display_name="New", labels={"a": "1"}).ok()
        asked = ambient.platform.requests[before:]
        assert [request.operation for request in asked] == ["get", "rename", "annotate", "get"]
        assert asked[1].json() == {"displayName": "New"}
        assert asked[2].json() == {"metadata": {"annotations": {"a": "1"}}}
        ambient_api.update_session(session_id, display_name="Newer", timeout_seconds=60).ok()
        assert ambient.platform.last("update").json() == {"timeout": 60, "displayName": "Newer"}

    def test_a_limit_that_is_not_told_reads_as_absent(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "stopped", timeout_seconds=60)
        assert "timeout_seconds" not in ambient_api.get_session(session_id).ok()
        ambient.platform.sessions[str(ambient_api.project)][session_id]["spec"]["timeout"] = 60
        assert ambient_api.get_session(session_id).ok()["timeout_seconds"] == 60

    def test_the_limit_of_a_running_session_stays(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        answer = ambient_api.update_session(session_id, timeout_seconds=60, labels={"a": "1"})
        assert answer.error == (409, "session_running")
        assert "labels" not in ambient_api.get_session(session_id).ok()

    @pytest.mark.parametrize(
        "body",
        [{"labels": {"a": None}}, {"remove_labels": ["a"]}, {"display_name": "x" * 51}, {"display_name": "a\nb"}],
    )
    def test_what_it_cannot_do_is_not_supported(
        self, ambient: PlatformStage, ambient_api: Api, body: dict[str, Any]
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        with ambient.nothing_happens(ambient_api):
            answer = ambient_api.update_session(session_id, **body)
        assert answer.error == (422, "not_supported")

    @pytest.mark.parametrize("operation", ["rename", "annotate", "update"])
    @pytest.mark.parametrize(
        ("reaction", "error"),
        [
            (failures.error(403, "Unauthorized to update session in this project"), (403, "forbidden")),
            (failures.error(500, "Failed to patch session"), (500, "backend_error")),
            (failures.html, (502, "backend_unavailable")),
            (failures.redirect, (502, "backend_unavailable")),
            (failures.disconnect, (502, "backend_unavailable")),
        ],
    )
    def test_a_failure_of_the_platform_is_told(
        self,
        ambient: PlatformStage,
        ambient_api: Api,
        operation: str,
        reaction: failures.Reaction,
        error: tuple[int, str],
    ) -> None:
        session_id = ambient.session(ambient_api, "stopped")
        ambient.platform.always(operation, reaction)
        changes: dict[str, dict[str, Any]] = {
            "rename": {"display_name": "New"},
            "annotate": {"labels": {"a": "1"}},
            "update": {"timeout_seconds": 60},
        }
        assert ambient_api.update_session(session_id, **changes[operation]).error == error
