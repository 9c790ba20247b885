"""An AG-UI agent of another make, through the API: conversation, tool call, failure, interrupt."""

from itertools import pairwise
from unittest.mock import ANY

import pytest
import requests

from tests.support.agents.runs import events
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.server import Background, free_port
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("agui")


@pytest.fixture
def stage(agui_stage: EmbeddedStage) -> EmbeddedStage:
    return agui_stage


@pytest.fixture
def session_id(stage: EmbeddedStage, api: Api) -> str:
    """A running session whose task has been done."""
    return stage.session(api, "running", task="I am Ada")


def texts(api: Api, session_id: str, role: str) -> list[str]:
    messages = api.output(session_id).ok()["messages"]
    return [message["content"] for message in messages if message["role"] == role and message.get("content")]


def active_responses(agui_server: str) -> str:
    return requests.get(f"{agui_server}/active", timeout=10).text


def test_the_agent_knows_the_conversation_of_earlier_turns(api: Api, session_id: str) -> None:
    for text in ("I like tea", "recall"):
        assert api.say(session_id, text)["status"] == "completed"
    assert texts(api, session_id, "user") == ["I am Ada", "I like tea", "recall"]
    replies = [text.strip() for text in texts(api, session_id, "assistant")]
    assert replies == ["echo: I am Ada", "echo: I like tea", "I am Ada | I like tea"]


def test_the_conversation_survives_a_stop_and_a_start(stage: EmbeddedStage, api: Api, session_id: str) -> None:
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    stage.settle(api, session_id, "running")
    api.say(session_id, "recall")
    assert texts(api, session_id, "assistant")[-1] == "I am Ada"


def test_another_thread_has_a_conversation_of_its_own(api: Api, session_id: str) -> None:
    messages = [{"role": "user", "content": text} for text in ("I am Bob", "recall")]
    run_id = api.create_run(session_id, thread_id="aside", messages=messages).ok()["run_id"]
    api.wait_for_run(session_id, run_id)
    *_, message = api.output(session_id, run_id=run_id).ok()["messages"]
    assert message["content"] == "I am Bob"


def test_a_tool_call_is_in_the_transcript(api: Api, session_id: str) -> None:
    run = api.say(session_id, "tool")
    messages = api.output(session_id, run_id=run["run_id"]).ok()["messages"]
    [call] = [call for message in messages for call in message.get("tool_calls", [])]
    assert call == {
        "id": ANY,
        "name": "get_time",
        "args": '{"zone":"UTC"}',
        "result": "12:00 in UTC",
        "status": "completed",
        "duration": ANY,
    }
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[-1]["content"] == "The tool says: 12:00 in UTC"


def test_a_tool_call_does_not_disturb_later_turns(api: Api, session_id: str) -> None:
    for text in ("tool", "recall"):
        assert api.say(session_id, text)["status"] == "completed"
    assert texts(api, session_id, "assistant")[-1] == "I am Ada | tool"


def test_the_events_are_the_agents_with_our_ids(api: Api, session_id: str) -> None:
    run = api.say(session_id, "tool")
    log = events(api, session_id, run["run_id"])
    assert (log[0]["type"], log[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert log[-1]["outcome"] == {"type": "success"}
    assert {event["runId"] for event in log} == {run["run_id"]}
    assert all(before["timestamp"] <= after["timestamp"] for before, after in pairwise(log))
    assert log[0]["input"]["messages"] == [{"id": ANY, "role": "user", "content": "tool"}]


@pytest.mark.parametrize(("decision", "result"), [("allow", "deleted a.txt"), ("deny", None)])
def test_a_tool_waits_for_approval(api: Api, session_id: str, decision: str, result: str | None) -> None:
    api.say(session_id, "delete a.txt")
    [approval] = api.list_approvals(session_id).ok()["items"]
    assert (approval["tool_name"], approval["args"]) == ("delete_file", {"name": "a.txt"})
    api.answer_approval(session_id, approval["id"], decision).ok()
    runs = eventually(lambda: api.list_runs(session_id).ok()["runs"], lambda runs: len(runs) == 3)
    assert api.wait_for_run(session_id, runs[-1]["run_id"])["status"] == "completed"
    messages = api.output(session_id).ok()["messages"]
    [call] = [call for message in messages for call in message.get("tool_calls", [])]
    assert call["status"] == "completed"
    assert (call["result"] == "deleted a.txt") is (result is not None)


def test_a_failed_run_has_one_error_event_and_the_session_goes_on(api: Api, session_id: str) -> None:
    run = api.say(session_id, "fail")
    assert (run["status"], run["error"]) == ("error", ANY)
    types = [event["type"] for event in events(api, session_id, run["run_id"])]
    assert types.count("RUN_ERROR") == 1
    assert types[-1] == "RUN_ERROR"
    assert "partial answer" in texts(api, session_id, "assistant")
    assert api.say(session_id, "recall")["status"] == "completed"


def test_a_slow_run_is_interrupted_and_its_request_closed(agui_server: str, api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "slow 600").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 3)
    assert active_responses(agui_server) == "1"
    assert api.interrupt_session(session_id).body == {"message": "Interrupt signal sent", "interrupted": True}
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    eventually(lambda: active_responses(agui_server) == "0")
    log = events(api, session_id, run_id)
    assert [event["type"] for event in log[-2:]] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert log[-1]["outcome"] == {"type": "cancelled"}
    assert api.get_session(session_id).ok()["status"] == "running"
    assert api.say(session_id, "Hello")["status"] == "completed"


def test_an_agent_that_cannot_be_reached_fails_the_run(
    loop: Background, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = f"agui+http://127.0.0.1:{free_port()}/"
    directory = tmp_path_factory.mktemp("nowhere")
    with embedded_stage(loop, directory, agent=nowhere) as stage, stage.api() as api:
        session_id = stage.session(api, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert run["status"] == "error"
        assert "127.0.0.1" not in run["error"]
        log = events(api, session_id, run["run_id"])
        assert [event["type"] for event in log] == ["RUN_STARTED", "RUN_ERROR"]
        assert log[-1]["code"] == "agent_unreachable"
        assert api.get_session(session_id).ok()["status"] == "running"
