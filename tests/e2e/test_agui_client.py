"""The official AG-UI client drives sessions on every backend."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.agui_client import AguiClient, agui_client, user
from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


@pytest.fixture
def client(api: Api, session_id: str) -> Iterator[AguiClient]:
    with agui_client(api, session_id) as client:
        yield client


@pytest.fixture
def embedded_client(embedded: EmbeddedStage, embedded_api: Api) -> Iterator[AguiClient]:
    with agui_client(embedded_api, embedded.session(embedded_api, "running")) as client:
        yield client


def only(found: list[dict[str, Any]]) -> dict[str, Any]:
    [one] = found
    return one


def test_a_run_comes_whole_and_a_second_one_goes_on_with_the_conversation(
    client: AguiClient, api: Api, session_id: str
) -> None:
    first = client.say("One")
    assert (first.types[0], first.types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert first.events[0]["threadId"] == first.events[-1]["threadId"] == client.thread_id
    second = client.say("Two")
    said = [message["content"] for message in second.messages if message["role"] == "user"]
    assert said == ["One", "Two"]
    assert second.messages[: len(first.messages)] == first.messages
    runs = api.list_runs(session_id).ok()["runs"][1:]
    assert [(run["user_message"], run["thread_id"]) for run in runs] == [("One", session_id), ("Two", session_id)]
    told = [event["input"]["messages"] for event in (first.events[0], second.events[0])]
    assert [[message["content"] for message in messages] for messages in told] == [["One"], ["Two"]]


def test_the_agent_remembers_what_was_said_by_any_client(embedded_client: AguiClient) -> None:
    embedded_client.say("My dog is called Rex")
    assert '"Say hello", then "My dog is called Rex"' in embedded_client.say("what did I say?").text()


def test_a_tool_call_reaches_the_client_with_its_result(client: AguiClient) -> None:
    turn = client.say("list the files")
    call = only([event for event in turn.events if event["type"] == "TOOL_CALL_START"])
    answer = only([message for message in turn.messages if message["role"] == "tool"])
    assert answer["toolCallId"] == call["toolCallId"]
    calls = [one["id"] for message in turn.messages for one in message.get("toolCalls", [])]
    assert calls == [call["toolCallId"]]


def test_a_run_that_fails_ends_with_its_error(embedded_client: AguiClient) -> None:
    turn = embedded_client.say("fail")
    assert turn.types[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert turn.events[-1]["code"] == "demo_failure"
    assert embedded_client.say("And now?").types[-1] == "RUN_FINISHED"


def test_a_question_of_the_agent_is_answered_by_the_client(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running")
    with agui_client(embedded_api, session_id) as client:
        asked = client.say("delete notes.txt").events[-1]["outcome"]
        assert asked["type"] == "interrupt"
        [question] = asked["interrupts"]
        assert len(embedded_api.list_approvals(session_id).ok()["items"]) == 1
        answer = {"interruptId": question["id"], "status": "resolved", "payload": {"approved": True}}
        client.begin(resume=[answer])
        turn = client.rest()
    assert turn.failure is None
    assert turn.types[-1] == "RUN_FINISHED"
    assert turn.events[-1]["outcome"]["type"] == "success"
    assert embedded_api.list_approvals(session_id).ok()["items"] == []


def test_an_interrupt_ends_the_stream_with_a_cancelled_run(embedded: EmbeddedStage, embedded_api: Api) -> None:
    session_id = embedded.session(embedded_api, "running")
    with agui_client(embedded_api, session_id) as client:
        client.begin(user("slow 3000"))
        client.until("TEXT_MESSAGE_CONTENT")
        assert embedded_api.interrupt_session(session_id).ok()["interrupted"] is True
        turn = client.rest()
    assert turn.failure is None
    assert turn.types[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert turn.events[-1]["outcome"] == {"type": "cancelled"}


def test_a_client_that_leaves_does_not_end_the_run_and_can_come_back(
    embedded: EmbeddedStage, embedded_api: Api
) -> None:
    session_id = embedded.session(embedded_api, "running")
    with agui_client(embedded_api, session_id) as client:
        client.begin(user("slow 5"), leave="TEXT_MESSAGE_CONTENT")
        client.rest()
        run_id = embedded_api.list_runs(session_id).ok()["runs"][-1]["run_id"]
        assert embedded_api.get_run(session_id, run_id).ok()["status"] == "running"
        assert client.say("what did I say?").text().endswith('"slow 5".')
    assert embedded_api.get_run(session_id, run_id).ok()["status"] == "completed"


def test_a_refusal_reaches_the_client_as_an_http_error(stage: Stage, api: Api) -> None:
    with AguiClient(api, stage.session(api, "stopped")) as client:
        client.begin(user("Hello"))
        turn = client.rest()
    assert turn.status == 422
    assert turn.events == []


def test_a_run_that_the_platform_lost_ends_with_an_error(ambient: PlatformStage, ambient_api: Api) -> None:
    session_id = ambient.session(ambient_api, "running")
    ambient.platform.runner.pace = "open"
    with agui_client(ambient_api, session_id) as client:
        client.begin(user("Hello"))
        client.until("RUN_STARTED")
        start = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
        run_id = ambient_api.list_runs(session_id).ok()["runs"][-1]["run_id"]
        ambient.platform.runner.append(session_id, start | {"runId": run_id, "threadId": session_id})
        ambient_api.stop_session(session_id).ok()
        ambient.settle(ambient_api, session_id, "stopped")
        turn = client.rest()
    assert turn.types == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_ERROR"]
    assert turn.failure is None
