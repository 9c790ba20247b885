"""The conversation that goes back to an AG-UI agent: content parts, reasoning and encrypted values as they came."""

from typing import Any

import msgspec
import pytest

from app.agui.events import FULL_EVENTS, decode
from app.agui.history import history

IMAGE = [{"type": "text", "text": "look"}, {"type": "image", "source": {"type": "url", "value": "http://a/b.png"}}]


def given(*events: dict[str, Any], goes_on: bool = True) -> list[dict[str, Any]]:
    log = [msgspec.Raw(msgspec.json.encode({"threadId": "t", "runId": "r", **event})) for event in events]
    return history(list(decode(log, FULL_EVENTS)), goes_on=goes_on)


def started(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "RUN_STARTED", "input": {"messages": messages}, **more}


def say(id_: str, text: str, kind: str = "TEXT_MESSAGE") -> list[dict[str, Any]]:
    return [
        {"type": f"{kind}_START", "messageId": id_},
        {"type": f"{kind}_CONTENT", "messageId": id_, "delta": text},
        {"type": f"{kind}_END", "messageId": id_},
    ]


def call(id_: str, **result: Any) -> list[dict[str, Any]]:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": id_, "toolCallName": "look"},
        {"type": "TOOL_CALL_END", "toolCallId": id_},
        *([{"type": "TOOL_CALL_RESULT", "toolCallId": id_, "messageId": f"{id_}-r", **result}] if result else []),
    ]


FINISHED = {"type": "RUN_FINISHED"}


class TestParts:
    def test_parts_of_a_message_go_back_as_they_came(self) -> None:
        [message] = given(started({"id": "u", "role": "user", "content": IMAGE}), FINISHED)
        assert message == {"id": "u", "role": "user", "content": IMAGE}

    def test_parts_of_a_snapshot_replace_the_text(self) -> None:
        user = {"id": "u", "role": "user"}
        snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{**user, "content": IMAGE}]}
        [message] = given(started({**user, "content": "look"}), snapshot, FINISHED)
        assert message["content"] == IMAGE

    def test_parts_of_a_result_go_back_as_they_came(self) -> None:
        _, message = given(started(), *call("c", content=IMAGE), FINISHED)
        assert (message["toolCallId"], message["content"]) == ("c", IMAGE)

    def test_parts_that_are_all_text_are_one_text(self) -> None:
        parts = [{"type": "text", "text": "a"}, "b", {"type": "text", "text": ""}]
        [message] = given(started({"id": "u", "role": "user", "content": parts}), FINISHED)
        assert message["content"] == "ab"


class TestReasoning:
    def test_it_goes_back_to_an_agent_of_1_0_in_its_place(self) -> None:
        log = [started(protocolVersion="1.0"), *say("m1", "hm", "REASONING_MESSAGE"), *say("m2", "yes"), FINISHED]
        assert [(each["role"], each["content"]) for each in given(*log)] == [("reasoning", "hm"), ("assistant", "yes")]

    @pytest.mark.parametrize("version", [None, "0.1", "", 1])
    def test_an_older_agent_does_not_get_it(self, version: Any) -> None:
        log = [started(protocolVersion=version), *say("m1", "hm", "REASONING_MESSAGE"), *say("m2", "yes"), FINISHED]
        assert [each["role"] for each in given(*log)] == ["assistant"]

    def test_encrypted_values_of_messages_and_calls_go_back(self) -> None:
        def encrypted(subtype: str, id_: str, value: str) -> dict[str, Any]:
            names = {"subtype": subtype, "entityId": id_, "encryptedValue": value}
            return {"type": "REASONING_ENCRYPTED_VALUE", **names}

        log = [started(), *say("m1", "hm", "REASONING_MESSAGE"), encrypted("message", "m1", "x")]
        log += [*call("c", content="ok"), encrypted("tool-call", "c", "y"), encrypted("message", "none", "z"), FINISHED]
        reasoning, assistant, _ = given(*log)
        assert (reasoning["role"], reasoning["encryptedValue"]) == ("reasoning", "x")
        assert assistant["toolCalls"][0]["encryptedValue"] == "y"

    def test_an_encrypted_value_belongs_to_its_own_run(self) -> None:
        value = {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "m", "encryptedValue": "2"}
        log: list[dict[str, Any]] = []
        for run in ("r1", "r2"):
            log += [{**event, "runId": run} for event in (started(), *say("m", run, "REASONING_MESSAGE"))]
            log += [{**value, "runId": run, "encryptedValue": run}, {**FINISHED, "runId": run}]
        assert [(each["content"], each["encryptedValue"]) for each in given(*log)] == [("r1", "r1"), ("r2", "r2")]

    def test_encrypted_values_of_a_snapshot_go_back(self) -> None:
        calls = [{"id": "c", "function": {"name": "n", "arguments": "{}"}, "encryptedValue": "y"}]
        messages = [
            {"id": "u", "role": "user", "content": "hi"},
            {"id": "q", "role": "reasoning", "content": "", "encryptedValue": "x"},
            {"id": "a", "role": "assistant", "toolCalls": calls},
        ]
        log = [started(protocolVersion="1.0"), {"type": "MESSAGES_SNAPSHOT", "messages": messages}, FINISHED]
        _, reasoning, assistant, _ = given(*log)
        assert reasoning == messages[1]
        assert assistant["toolCalls"][0]["encryptedValue"] == "y"

    def test_activities_and_empty_messages_do_not_go_back(self) -> None:
        activity = {"id": "p", "role": "activity", "activityType": "PLAN", "content": {"a": 1}}
        messages = [{"id": "u", "role": "user", "content": "hi"}, activity, {"id": "a", "role": "assistant"}]
        log = [started(protocolVersion="1.0"), {"type": "MESSAGES_SNAPSHOT", "messages": messages}, FINISHED]
        assert [each["id"] for each in given(*log)] == ["u"]
