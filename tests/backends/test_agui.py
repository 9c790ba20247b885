"""Runs of AG-UI clients on every backend, frame by frame."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support import platform_failures as failures
from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

RUN = "0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11"


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


def user(text: Any, id: str | None = None) -> dict[str, Any]:
    return {"id": id or str(uuid4()), "role": "user", "content": text}


def run(api: Api, session_id: str, *messages: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
    """The events of a whole run."""
    with api.run_agent(session_id, messages=messages, **body) as stream:
        return [frame.event for frame in stream]


class TestTheStream:
    def test_it_names_the_client_s_ids_at_both_ends_alone(self, api: Api, session_id: str) -> None:
        events = run(api, session_id, user("Hello"), threadId="mine", runId="run 1")
        assert [(events[end]["type"], events[end]["threadId"], events[end]["runId"]) for end in (0, -1)] == [
            ("RUN_STARTED", "mine", "run 1"),
            ("RUN_FINISHED", "mine", "run 1"),
        ]
        assert (events[0]["input"]["threadId"], events[0]["input"]["runId"]) == ("mine", "run 1")
        ids = {"threadId", "runId", "thread_id", "run_id"}
        assert not [event for event in events[1:-1] if ids & event.keys()]

    def test_its_frames_have_the_positions_of_the_log(self, api: Api, session_id: str) -> None:
        with api.run_agent(session_id, messages=[user("Hello")], runId=RUN) as stream:
            positions = [frame.id for frame in stream]
        with api.stream(session_id, run_id=RUN) as log:
            assert positions == [frame.id for frame in log]

    @pytest.mark.parametrize(
        "more",
        [{"resume": [{"interruptId": "i", "status": "resolved"}]}, {"extra": 1}, {"state": [1]}],
        ids=["resume", "unknown", "state"],
    )
    def test_what_the_platform_would_drop_is_refused(
        self, ambient: PlatformStage, ambient_api: Api, more: dict[str, Any]
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        body = {"threadId": "t", "runId": RUN, "messages": [user("Hello")]} | more
        answer = ambient_api.call("run_agent", session_id, body=body)
        assert answer.error == (422, "not_supported")

    def test_what_it_does_not_know_goes_to_the_agent(self, stage: Stage, api: Api, session_id: str) -> None:
        sent: dict[str, Any] = {
            "parentRunId": "before",
            "state": {"step": 1},
            "tools": [{"name": "confirm", "description": "Ask", "parameters": {"type": "object"}}],
            "context": [{"description": "zone", "value": "UTC"}],
            "forwardedProps": {"large": 12345678901234567890},
        }
        if stage.name == "embedded":
            sent["resume"] = [{"interruptId": "i", "status": "resolved", "payload": {"approved": True}}]
            sent["extra"] = {"kept": [1, 2.5, None]}
        image = [{"type": "image", "url": "x"}] if stage.name == "embedded" else []
        message = user([{"type": "text", "text": "Hello"}, *image]) | {"metadata": {"a": 1}}
        [started, *_] = run(api, session_id, message, **sent)
        assert {key: started["input"].get(key) for key in sent} == sent
        assert [one["id"] for one in started["input"]["messages"]] == [message["id"]]

    def test_a_client_that_sends_only_what_it_must_is_served(self, api: Api, session_id: str) -> None:
        [started, *_] = run(api, session_id, user("Hello"), state=None, tools=None, context=None, forwardedProps=None)
        defaults: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
        assert {key: started["input"][key] for key in defaults} == defaults


class TestMessages:
    def test_only_those_that_the_conversation_does_not_know_are_new(self, api: Api, session_id: str) -> None:
        first, second = user("One"), user("Two")
        events = run(api, session_id, first)
        spoken = {event["messageId"]: event for event in events if event["type"] == "TEXT_MESSAGE_START"}
        said = [{"id": id, "role": "assistant", "content": "…"} for id in spoken]
        call = next((event for event in events if event["type"] == "TOOL_CALL_START"), None)
        if call:
            said.append({"id": call["toolCallId"], "role": "assistant", "toolCalls": []})
        [started, *_] = run(api, session_id, first, *said, second)
        assert [message["content"] for message in started["input"]["messages"]] == ["Two"]
        summary = api.list_runs(session_id).ok()["runs"][-1]
        assert (summary["user_message"], summary["thread_id"]) == ("Two", session_id)

    def test_an_id_of_another_thread_is_new_here(self, api: Api, session_id: str) -> None:
        other = api.create_run(
            session_id, messages=[{"role": "user", "content": "There", "id": "m1"}], thread_id="other"
        ).ok()
        api.wait_for_run(session_id, other["run_id"])
        [started, *_] = run(api, session_id, user("Here", "m1"))
        assert [message["content"] for message in started["input"]["messages"]] == ["Here"]

    def test_those_of_a_run_that_waits_are_known(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        embedded.begin_run(embedded_api, session_id)
        first = user("One")
        with (
            embedded_api.run_agent(session_id, messages=[first]) as one,
            embedded_api.as_(token=embedded_api.token, project=embedded_api.project) as second,
            second.run_agent(session_id, messages=[first, user("Two")]) as two,
        ):
            embedded_api.interrupt_session(session_id).ok()
            assert [frame.event["type"] for frame in one][-1] == "RUN_FINISHED"
            [started, *_] = [frame.event for frame in two]
        assert [message["content"] for message in started["input"]["messages"]] == ["Two"]


class TestEnds:
    def test_a_deleted_session_ends_the_run_with_an_error(self, stage: Stage, api: Api, session_id: str) -> None:
        stage.begin_run(api, session_id)
        with api.as_(token=api.token, project=api.project) as client, client.run_agent(session_id) as stream:
            api.delete_session(session_id).ok()
            events = [frame.event for frame in stream]
        assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_ERROR")

    def test_a_refused_token_ends_the_stream_with_an_error(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient.platform.runner.pace = "open"
        with ambient_api.run_agent(session_id, messages=[user("Hello")]) as stream:
            frames = iter(stream)
            assert next(frames).event["type"] == "RUN_STARTED"
            ambient.platform.always("get", failures.error(401, "Token expired or invalid"))
            [end] = [frame.event for frame in frames]
        assert (end["type"], end["code"]) == ("RUN_ERROR", "unauthorized")


class TestRefusals:
    def test_a_known_run_is_refused(self, api: Api, session_id: str) -> None:
        run(api, session_id, user("Hello"), runId=RUN)
        again = api.call("run_agent", session_id, body={"threadId": "t", "runId": RUN.upper(), "messages": []})
        assert again.error == (409, "run_exists")

    @pytest.mark.parametrize("status", ["pending", "stopped", "failed"])
    def test_a_session_that_does_not_run_is_refused(self, stage: Stage, api: Api, status: str) -> None:
        body = {"threadId": "t", "runId": RUN, "messages": [user("Hello")]}
        assert api.call("run_agent", stage.session(api, status), body=body).error == (422, "session_not_running")

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"threadId": None}, "body.threadId"),
            ({"runId": ""}, "body.runId"),
            ({"runId": "a/b"}, "body.runId"),
            ({"threadId": "a\n"}, "body.threadId"),
            ({"messages": None}, "body.messages"),
            ({"messages": [{"role": "user", "content": "x"}]}, "body.messages[0].id"),
            ({"messages": [user("x") | {"role": "robot"}]}, "body.messages[0].role"),
            ({"messages": ["x"]}, "body.messages[0]"),
            ({"tools": {}}, "body.tools"),
            ({"resume": [1]}, "body.resume[0]"),
            ({"resume": [{"interruptId": "i", "status": "open"}]}, "body.resume[0].status"),
            ({"resume": [{"status": "resolved"}]}, "body.resume[0].interruptId"),
        ],
    )
    def test_a_bad_input_is_refused_and_its_fault_is_named(
        self, stage: Stage, api: Api, session_id: str, change: dict[str, Any], fault: str
    ) -> None:
        body = {"threadId": "t", "runId": RUN, "messages": []} | change
        with stage.nothing_happens(api):
            answer = api.call("run_agent", session_id, body=body)
        assert (answer.error, set(answer.faults)) == ((400, "invalid_request"), {fault})
