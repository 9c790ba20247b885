"""Events that are off the protocol's schema, as the stream of a strict client has them: mended, or left out."""

import json
from typing import Any

import pytest
from ag_ui.core import Event, EventType
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.agui.client_stream import StrictStream

_strict: TypeAdapter[Any] = TypeAdapter(Event)
CALL = {"id": "c", "function": {"name": "n", "arguments": "{}"}}


def sent(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a client gets for an event in the middle of a run."""
    stream = StrictStream("mine", "r")
    stream.feed(b'{"type":"RUN_STARTED","threadId":"t","runId":"r"}', 1)
    return [json.loads(each) for each in stream.feed(json.dumps(event).encode(), 1)]


@pytest.mark.parametrize(
    ("event", "mended"),
    [
        ({"type": "TOOL_CALL_START", "tool_call_id": "c", "tool_call_name": "n", "parent_message_id": "p"},
         {"toolCallId": "c", "toolCallName": "n", "parentMessageId": "p"}),
        ({"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": None, "parentMessageId": 7},
         {"toolCallId": "c", "toolCallName": "tool", "parentMessageId": "7"}),
        ({"type": "TOOL_CALL_CHUNK", "tool_call_id": "c", "tool_call_name": "n", "delta": "x"},
         {"toolCallId": "c", "toolCallName": "n", "delta": "x"}),
        ({"type": "TOOL_CALL_RESULT", "toolCallId": "c", "messageId": "m", "content": {"a": 1}, "role": "function"},
         {"toolCallId": "c", "messageId": "m", "content": '{"a":1}', "role": "tool"}),
        ({"type": "TOOL_CALL_RESULT", "toolCallId": "c", "messageId": "m"},
         {"toolCallId": "c", "messageId": "m", "content": ""}),
        ({"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "ai"}, {"messageId": "m", "role": "assistant"}),
        ({"type": "STEP_STARTED", "step_name": "s"}, {"stepName": "s"}),
        ({"type": "CUSTOM", "name": 7, "value": None}, {"name": "7", "value": None}),
        ({"type": "STATE_SNAPSHOT", "snapshot": None}, {"snapshot": None}),
        ({"type": "STATE_DELTA", "delta": {"op": "remove", "path": "/a"}},
         {"delta": [{"op": "remove", "path": "/a"}]}),
        ({"type": "ACTIVITY_SNAPSHOT", "message_id": "m", "activity_type": "P", "content": {"a": None}},
         {"messageId": "m", "activityType": "P", "content": {"a": None}}),
        ({"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entity_id": "e", "encrypted_value": "x"},
         {"subtype": "message", "entityId": "e", "encryptedValue": "x"}),
        ({"type": "MESSAGES_SNAPSHOT", "messages": [
            {"id": "a", "role": "assistant", "content": None, "tool_calls": [CALL], "name": None},
            {"id": "b", "role": "tool", "content": {"a": 1}, "tool_call_id": "c"},
            {"role": "user", "content": "nobody can name it"},
            {"id": "d", "role": "human", "content": None}]},
         {"messages": [
            {"id": "a", "role": "assistant", "toolCalls": [CALL | {"type": "function"}]},
            {"id": "b", "role": "tool", "content": '{"a":1}', "toolCallId": "c"},
            {"id": "d", "role": "human", "content": None}]}),
    ],
)  # fmt: skip
def test_what_is_plain_is_mended(event: dict[str, Any], mended: dict[str, Any]) -> None:
    assert sent(event) == [{"type": event["type"], **mended}]


@pytest.mark.parametrize(
    ("members", "mended"),
    [
        ({"outcome": "success"}, {}),
        ({"outcome": {"type": "interrupt", "interrupts": []}}, {}),
        ({"outcome": {"type": "interrupt", "interrupts": [{"id": "i", "toolCallId": None}, {"reason": "no id"}]}},
         {"outcome": {"type": "interrupt", "interrupts": [{"id": "i", "reason": "input_required"}]}}),
        ({"outcome": "interrupt", "interrupt": {"id": "i", "reason": "Delete it?"}},
         {"interrupt": {"id": "i", "reason": "Delete it?"},
          "outcome": {"type": "interrupt", "interrupts": [
              {"id": "interrupt:r:i", "message": "Delete it?", "reason": "input_required"}]}}),
        ({"usage": {"inputTokens": 1.0, "outputTokens": "many", "model": None}}, {"usage": [{"inputTokens": 1}]}),
    ],
)  # fmt: skip
def test_the_end_of_a_run_always_comes(members: dict[str, Any], mended: dict[str, Any]) -> None:
    end = {"type": "RUN_FINISHED", "threadId": "mine", "runId": "r"}
    assert sent({**end, **members}) == [{**end, **mended}]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "STATE_SNAPSHOT"},
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/b"}]},
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "a"}]},
        {"type": "ACTIVITY_DELTA", "messageId": "m", "activityType": "P", "patch": None},
        {"type": "MESSAGES_SNAPSHOT"},
        {"type": "TOOL_CALL_RESULT", "messageId": "m", "content": "of no call"},
        {"type": "CUSTOM", "value": 1},
        {"type": "RAW"},
    ],
)
def test_what_lacks_its_meaning_is_left_out(event: dict[str, Any]) -> None:
    assert sent(event) == []


NAMES = (
    *("messageId", "message_id", "toolCallId", "toolCallName", "parentMessageId", "delta", "content", "role", "name"),
    *("value", "event", "snapshot", "messages", "patch", "activityType", "stepName", "outcome", "usage", "code"),
    *("message", "input", "subtype", "entityId", "encryptedValue", "subagentRunId", "timestamp", "rawEvent", "source"),
    *("replace", "metadata", "description", "parentRunId", "protocolVersion"),
)
SMALL = st.sampled_from(
    [None, True, 7, -1, 1.5, "x", "", "user", "tool", "text", [], {}, ["x"], [7], {"a": None}, [{"op": "add"}]]
)
VALUES = SMALL | st.lists(
    st.dictionaries(st.sampled_from(["type", "text", "id", "role", "content", "toolCalls", "op", "path"]), SMALL)
)


@given(
    type_=st.sampled_from([each.value for each in EventType if not each.value.startswith("THINKING")]),
    members=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
)
def test_a_client_gets_nothing_that_it_refuses(type_: str, members: dict[str, Any]) -> None:
    for event in sent({"threadId": "t", "runId": "r", **members, "type": type_}):
        if event["type"] == "MESSAGES_SNAPSHOT":  # clients pass over messages of roles that they do not know
            event["messages"] = [each for each in event["messages"] if each["role"] not in {"x", "", "text"}]
        _strict.validate_python(event)
