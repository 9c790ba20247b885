"""Agents on every backend: their list, and the choice of one for a session."""

from pathlib import Path
from typing import Any

import pytest

from app.sandbox.sandbox import detect
from tests.support.api import Api
from tests.support.platform_failures import error, respond
from tests.support.server import Background
from tests.support.stage import PlatformStage, Stage, embedded_stage


def test_the_first_agent_of_the_list_is_the_default_one(api: Api) -> None:
    agents = api.list_agents().ok()["items"]
    assert [agent["default"] for agent in agents] == [True, *(False for _ in agents[1:])]
    assert all(agent["available"] for agent in agents)


def test_a_session_without_a_choice_has_the_default_agent(stage: Stage, api: Api) -> None:
    [default, *_] = api.list_agents().ok()["items"]
    session_id = stage.session(api, "running")
    assert api.get_session(session_id).ok()["agent"] == default["name"]


def test_an_agent_that_is_chosen_is_that_of_the_session(stage: Stage, api: Api) -> None:
    chosen = api.list_agents().ok()["items"][-1]["name"]
    session_id = stage.session(api, "running", agent=chosen)
    assert api.get_session(session_id).ok()["agent"] == chosen


def test_an_unknown_agent_is_refused(api: Api) -> None:
    answer = api.create_session(task="Say hello", agent="nobody")
    assert answer.status == 400


class TestEmbedded:
    def test_sessions_run_the_agents_that_they_choose(self, loop: Background, tmp_path: Path) -> None:
        with (
            embedded_stage(loop, tmp_path, agents="demo,missing=acp:/nowhere/agent", agent="missing") as stage,
            stage.api() as api,
        ):
            assert api.list_agents().ok()["items"] == [
                {
                    "name": "missing",
                    "kind": "acp",
                    "default": True,
                    "available": False,
                    "reason": "The command agent is not installed.",
                    "sandboxed": detect("auto").in_force,
                },
                {"name": "demo", "kind": "demo", "default": False, "available": True, "models": [], "modes": []},
            ]
            demo, missing = (stage.session(api, "running", **body) for body in ({"agent": "demo"}, {}))
            [worked] = api.list_runs(demo).ok()["runs"]
            [failed] = api.list_runs(missing).ok()["runs"]
        assert (worked["status"], failed["status"]) == ("completed", "error")

    def test_an_unknown_agent_is_refused_with_the_names_of_all(self, embedded_api: Api) -> None:
        answer = embedded_api.create_session(task="Say hello", agent="nobody")
        assert answer.body["details"] == [{"location": "body.agent", "message": "must be one of demo"}]

    def test_a_session_whose_agent_was_taken_away_says_so(self, loop: Background, tmp_path: Path) -> None:
        with embedded_stage(loop, tmp_path, agents="mine=demo") as stage, stage.api() as api:
            session_id = stage.session(api, "running", agent="mine")
        with embedded_stage(loop, tmp_path) as stage, stage.api(api.project) as again:
            run = again.say(session_id, "hello")
        assert (run["status"], run["error"]) == ("error", "The server has no agent mine any more.")


class TestPlatform:
    def test_the_agents_are_its_types_of_runners_with_their_models(self, ambient_api: Api) -> None:
        claude, gemini = ambient_api.list_agents().ok()["items"]
        assert (claude["name"], claude["kind"], claude["title"]) == ("claude-agent-sdk", "runner", "Claude Agent SDK")
        assert {"id": "claude-sonnet-4-5", "name": "Claude-Sonnet-4-5"} in claude["models"]
        assert [model["id"] for model in gemini["models"]] == ["gemini-2.5-flash", "gemini-2.5-pro"]

    def test_the_choice_is_its_type_of_runner(self, ambient: PlatformStage, ambient_api: Api) -> None:
        ambient_api.create_session(task="Say hello", agent="gemini-cli").ok()
        assert ambient.platform.last("create").json()["runnerType"] == "gemini-cli"

    def test_the_model_of_a_running_session_is_changed(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        assert ambient_api.update_session(session_id, model="claude-opus-4-5").ok()["model"] == "claude-opus-4-5"
        stopped = ambient.session(ambient_api, "stopped")
        assert ambient_api.update_session(stopped, model="claude-opus-4-5").error == (422, "not_supported")

    def test_a_model_that_the_project_does_not_have_is_refused(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        answer = ambient_api.update_session(session_id, model="gpt-17", labels={"a": "b"})
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.model"])
        session = ambient_api.get_session(session_id).ok()
        assert (session["model"], session.get("labels")) == ("sonnet", None)

    def test_the_model_stays_while_the_agent_works(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient.begin_run(ambient_api, session_id)
        answer = ambient_api.update_session(session_id, model="claude-opus-4-5")
        assert answer.error == (422, "not_supported")
        assert "its agent is idle" in answer.body["error"]

    def test_it_has_no_modes(self, ambient: PlatformStage, ambient_api: Api) -> None:
        assert ambient_api.create_session(task="Say hello", mode="plan").error == (422, "not_supported")
        session_id = ambient.session(ambient_api, "running")
        assert ambient_api.update_session(session_id, mode="plan").error == (422, "not_supported")

    @pytest.mark.parametrize("operation", ["runner_types", "models"])
    def test_a_platform_without_them_has_no_list_or_no_models(
        self, ambient: PlatformStage, ambient_api: Api, operation: str
    ) -> None:
        ambient.platform.next(operation, error(404, "404 page not found"))
        answer = ambient_api.list_agents()
        if operation == "runner_types":
            assert answer.error == (422, "not_supported")
        else:
            assert all("models" not in agent for agent in answer.ok()["items"])

    @pytest.mark.parametrize("body", [None, "x", 7, {}, b"[", b"[]]", b"[" * 100_000])
    def test_a_list_that_is_none_is_unusable(self, ambient: PlatformStage, ambient_api: Api, body: Any) -> None:
        ambient.platform.next("runner_types", respond(200, body))
        assert ambient_api.list_agents().error == (502, "backend_unavailable")
