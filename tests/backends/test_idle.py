"""Sessions that stop by themselves, on every backend: after a run, or once they have been idle for long enough."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

RULES = {"idle_timeout_seconds": 3600, "stop_on_run_finished": True}


class TestStopOnRunFinished:
    def test_a_session_stops_once_its_run_has_ended(self, stage: Stage, api: Api) -> None:
        session_id = api.create_session(task="Say hello", stop_on_run_finished=True).ok()["id"]
        stage.settle(api, session_id, "stopped")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert run["status"] == "completed"

    def test_a_session_that_is_started_again_stays_until_its_next_run_has_ended(self, stage: Stage, api: Api) -> None:
        session_id = api.create_session(task="Say hello", stop_on_run_finished=True).ok()["id"]
        stage.settle(api, session_id, "stopped")
        api.start_session(session_id).ok()
        stage.settle(api, session_id, "running")
        run_id = stage.begin_run(api, session_id)
        assert api.get_session(session_id).ok()["status"] == "running"
        api.interrupt_session(session_id).ok()
        assert api.wait_for_run(session_id, run_id)["status"] == "interrupted"
        stage.settle(api, session_id, "stopped")

    def test_queued_runs_come_first(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded_api.create_session(task="slow 20", stop_on_run_finished=True).ok()["id"]
        embedded_api.wait_for_status(session_id, "running")
        embedded_api.send_message(session_id, "Say hello").ok()
        embedded.settle(embedded_api, session_id, "stopped")
        assert [run["status"] for run in embedded_api.list_runs(session_id).ok()["runs"]] == ["completed"] * 2


class TestIdleTimeout:
    def test_a_session_stops_once_it_has_been_idle_for_so_long(self, stage: Stage, api: Api) -> None:
        session_id = api.create_session(task="Say hello", idle_timeout_seconds=1).ok()["id"]
        stage.settle(api, session_id, "running")
        assert api.get_session(session_id, wait=10).ok()["status"] == "running"
        stage.settle(api, session_id, "stopped")

    def test_who_reads_a_session_does_not_keep_it_running(self, stage: Stage, api: Api) -> None:
        session_id = api.create_session(task="Say hello", idle_timeout_seconds=1).ok()["id"]
        stage.settle(api, session_id, "running")
        with api.stream(session_id) as stream:
            assert next(iter(stream)).event["type"]
            stage.settle(api, session_id, "stopped")


@pytest.mark.parametrize("rules", [RULES, {"stop_on_run_finished": False}, {}])
def test_the_rules_are_read_back(api: Api, rules: dict[str, Any]) -> None:
    created = api.create_session(task="Say hello", **rules).ok()
    [listed] = api.list_sessions().ok()["items"]
    for session in (created, api.get_session(created["id"]).ok(), listed):
        assert {name: session[name] for name in RULES if name in session} == rules
        assert "labels" not in session


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idle_timeout_seconds", 0),
        ("idle_timeout_seconds", 2**31),
        ("idle_timeout_seconds", "60"),
        ("stop_on_run_finished", "yes"),
        ("stop_on_run_finished", 1),
    ],
)
def test_a_bad_rule_is_refused(stage: Stage, api: Api, name: str, value: Any) -> None:
    with stage.nothing_happens(api):
        answer = api.create_session(task="Say hello", **{name: value})
    assert (answer.error, answer.faults) == ((400, "invalid_request"), [f"body.{name}"])


def test_the_rules_are_sent_in_the_platforms_words(ambient: PlatformStage, ambient_api: Api) -> None:
    ambient_api.create_session(task="x", **RULES, labels={"a": "1"}).ok()
    sent = ambient.platform.last("create").json()
    assert (sent["inactivityTimeout"], sent["stopOnRunFinished"]) == (3600, True)
