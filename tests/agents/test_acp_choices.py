"""The models and modes that ACP agents offer: chosen for a session, changed, shown and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.agents.test_acp_resume import restart
from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import reply
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import embedded_stage

OFFERED = [{"id": "maker/small", "name": "small"}, {"id": "maker/large", "name": "large"}]


def the_run(api: Api, session_id: str) -> dict[str, Any]:
    [run] = api.list_runs(session_id).ok()["runs"]
    assert isinstance(run, dict)
    return run


def last_event(api: Api, session_id: str) -> dict[str, Any]:
    event: dict[str, Any] = api.output(session_id, format="events").ok()["events"][-1]
    return event


@pytest.mark.parametrize("flag", ["--models", "--old-models"])
def test_a_model_is_chosen_by_its_id_or_name_and_the_one_in_use_is_shown(
    loop: Background, tmp_path: Path, flag: str
) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp(flag)) as stage, stage.api() as api:
        for model in (None, "maker/small", "maker/large", "large", "LARGE"):
            session_id = stage.session(api, "running", task="hello", model=model)
            expected = "maker/large" if "large" in str(model).lower() else "maker/small"
            assert reply(api, session_id, "model") == expected
            assert api.get_session(session_id).ok()["model"] == expected


@pytest.mark.parametrize("flag", ["--models", "--old-models"])
def test_a_model_that_is_not_offered_ends_the_run_and_the_error_names_those_that_are(
    loop: Background, tmp_path: Path, flag: str
) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp(flag)) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", model="huge")
        run = the_run(api, session_id)
        message = "The agent does not offer the model huge. It offers: maker/small, maker/large."
        assert (run["status"], run["error"]) == ("error", message)
        assert last_event(api, session_id)["code"] == "model_not_available"
        assert any(message in line for line in api.logs(session_id))
        assert api.get_session(session_id).ok()["model"] == "maker/small"

        api.update_session(session_id, model="large").ok()
        api.say(session_id, "hello")
        assert reply(api, session_id, "model") == "maker/large"


def test_model_and_mode_are_changed_for_the_next_run(loop: Background, tmp_path: Path) -> None:
    agent = scripted_acp("--models", "--modes")
    with embedded_stage(loop, tmp_path, agent=agent) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", mode="plan")
        before = api.get_session(session_id).ok()
        assert (before["model"], before["mode"]) == ("maker/small", "plan")
        assert reply(api, session_id, "mode") == "plan"

        changed = api.update_session(session_id, model="large", mode="Ask").ok()
        assert (changed["model"], changed["mode"]) == ("large", "Ask")
        assert (reply(api, session_id, "model"), reply(api, session_id, "mode")) == ("maker/large", "ask")
        after = api.get_session(session_id).ok()
        assert (after["model"], after["mode"]) == ("maker/large", "ask")


def test_a_resumed_conversation_has_its_model(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--models", "--load")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", model="large")
        restart(api, session_id)
        assert reply(api, session_id, "model") == "maker/large"


def test_what_the_agent_changes_by_itself_is_shown(loop: Background, tmp_path: Path) -> None:
    agent = scripted_acp("--models", "--modes")
    with embedded_stage(loop, tmp_path, agent=agent) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="become maker/large plan")
        session = api.get_session(session_id).ok()
    assert (session["model"], session["mode"]) == ("maker/large", "plan")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fast", "The agent does not offer the mode fast. It offers: ask, plan, broken."),
        ("broken", "The agent refused the mode broken: No such mode"),
    ],
)
def test_a_mode_that_is_not_offered_or_refused_ends_the_run(
    loop: Background, tmp_path: Path, mode: str, message: str
) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--modes")) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", mode=mode)
        assert the_run(api, session_id)["error"] == message
        assert last_event(api, session_id)["code"] == "mode_not_available"


def test_the_choices_are_listed_after_the_first_use_and_after_a_restart(loop: Background, tmp_path: Path) -> None:
    agent = scripted_acp("--models", "--modes")
    with embedded_stage(loop, tmp_path, agent=agent) as stage, stage.api() as api:
        [listed] = api.list_agents().ok()["items"]
        assert not {"models", "modes"} & listed.keys()
        stage.session(api, "running", task="hello")
        [listed] = api.list_agents().ok()["items"]
        assert listed["models"] == OFFERED
        assert [mode["id"] for mode in listed["modes"]] == ["ask", "plan", "broken"]
    with embedded_stage(loop, tmp_path, agent=agent) as stage, stage.api(api.project) as api:
        assert api.list_agents().ok()["items"] == [listed]


def test_an_agent_without_a_choice_refuses_a_model_once_that_is_known(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp()) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", model="large")
        assert the_run(api, session_id)["error"] == "The agent offers no choice of models, so it cannot use large."
        refused = api.create_session(task="hello", model="large")
        assert refused.error == (422, "not_supported")
        assert refused.body["error"] == "The agent default offers no choice of models."
        assert api.create_session(task="hello", mode="plan").error == (422, "not_supported")
        assert api.update_session(session_id, model="small").error == (422, "not_supported")


def test_the_demo_agent_has_no_models_and_no_modes(embedded_api: Api) -> None:
    for choice in ({"model": "large"}, {"mode": "plan"}):
        assert embedded_api.create_session(task="hello", **choice).error == (422, "not_supported")
    session_id = embedded_api.running_session()
    assert embedded_api.update_session(session_id, model="large").error == (422, "not_supported")
