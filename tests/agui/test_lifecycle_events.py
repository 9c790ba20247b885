"""Events that the server writes itself, and what it adds to those of an agent."""

import json
from typing import Any

import msgspec
import pytest
from ag_ui.core import Event as AgUiEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.agui.lenient import members
from app.agui.lifecycle_events import OpenParts, run_cancelled, run_error, run_started
from app.agui.run_recorder import stamp_event
from tests.support.agui_samples import dict_of, json_values, log, raw

NOW = 1773061200389
ours = {"threadId": "t", "runId": "r", "timestamp": NOW}
agui: TypeAdapter[Any] = TypeAdapter(AgUiEvent)
run_input = {
    "threadId": "t", "runId": "r", "state": {}, "messages": [{"id": "u", "role": "user", "content": "hi"}],
    "tools": [], "context": [], "forwardedProps": {},
}  # fmt: skip


def test_lifecycle_events_are_valid_in_the_protocol() -> None:
    written = [
        run_started("t", "r", run_input, NOW),
        run_error("t", "r", "The agent broke off.", "agent_failed", NOW),
        run_error("t", "r", "The agent broke off.", None, NOW),
        run_cancelled("t", "r", NOW),
    ]
    assert [dict_of(entry) for entry in written] == [
        {"type": "RUN_STARTED", **ours, "input": run_input},
        {"type": "RUN_ERROR", **ours, "message": "The agent broke off.", "code": "agent_failed"},
        {"type": "RUN_ERROR", **ours, "message": "The agent broke off."},
        {"type": "RUN_FINISHED", **ours, "outcome": {"type": "cancelled"}},
    ]
    for entry in written:
        agui.validate_json(entry)


def test_a_run_with_an_invalid_unicode_error_ends() -> None:
    assert dict_of(run_error("t", "r", "cut \ud83d", None, NOW))["message"] == "cut ?"


def test_an_encoded_input_keeps_its_bytes() -> None:
    assert b'"input":{"b":12345678901234567890 }' in run_started(
        "t", "r", msgspec.Raw(b'{"b":12345678901234567890 }'), 1
    )


def test_open_parts_are_closed_in_reverse_order() -> None:
    parts = OpenParts()
    for event in log(
        raw("STEP_STARTED", stepName="s0"),
        raw("STEP_FINISHED", stepName="s0"),
        raw("STEP_STARTED", stepName="s"),
        raw("REASONING_START", messageId="d"),
        raw("REASONING_MESSAGE_START", messageId="d", role="reasoning"),
        raw("TEXT_MESSAGE_START", messageId="done"),
        raw("TEXT_MESSAGE_CONTENT", messageId="done", delta="x"),
        raw("TEXT_MESSAGE_END", messageId="done"),
        raw("TEXT_MESSAGE_START", messageId="m"),
        raw("TEXT_MESSAGE_CHUNK", messageId="closed by whatever follows", delta="x"),
        raw("TOOL_CALL_START", toolCallId="c0", toolCallName="Bash"),
        raw("TOOL_CALL_START", toolCallId="c", toolCallName="Bash"),
        raw("TOOL_CALL_END", toolCallId="c0"),
        raw("TEXT_MESSAGE_END", messageId="never begun"),
    ):
        parts.observe(event)
    closing = parts.close("t", "r", NOW)
    assert [dict_of(entry) for entry in closing] == [
        {"type": "TOOL_CALL_END", **ours, "toolCallId": "c"},
        {"type": "TEXT_MESSAGE_END", **ours, "messageId": "m"},
        {"type": "REASONING_MESSAGE_END", **ours, "messageId": "d"},
        {"type": "REASONING_END", **ours, "messageId": "d"},
        {"type": "STEP_FINISHED", **ours, "stepName": "s"},
    ]
    for entry in closing:
        agui.validate_json(entry)
    assert parts.close("t", "r", NOW) == []


def test_reasoning_without_an_id_is_closed_without_one() -> None:
    parts = OpenParts()
    for event in log(raw("THINKING_START"), raw("THINKING_TEXT_MESSAGE_START")):
        parts.observe(event)
    assert [dict_of(entry) for entry in parts.close("t", "r", NOW)] == [
        {"type": "THINKING_TEXT_MESSAGE_END", **ours},
        {"type": "THINKING_END", **ours},
    ]


def test_an_event_that_lacks_nothing_keeps_its_bytes() -> None:
    entry = b' { "timestamp":1.5e3 ,"runId":"r", "x":12345678901234567890,"threadId":"\\u0074"}\n'
    assert stamp_event(entry, "r", "t", NOW) == entry


def test_ids_of_the_agent_are_replaced_and_nothing_else() -> None:
    entry = b'{"zeta":12345678901234567890,"run_id":"x","runId":"x","type":"RAW","event":{"b":1.0e5 ,"runId":"x"}}'
    assert stamp_event(entry, "r", "t", NOW) == (
        b'{"zeta":12345678901234567890,"run_id":"r","runId":"r","type":"RAW","event":{"b":1.0e5 ,"runId":"x"},'
        b'"threadId":"t","timestamp":1773061200389}'
    )


@pytest.mark.parametrize("missing", ["", ',"timestamp":null,"input":null'])
def test_run_started_without_an_input_gets_one(missing: str) -> None:
    entry = b'{"type":"RUN_STARTED"%b}' % missing.encode()
    assert dict_of(stamp_event(entry, "r", "t", NOW, run_input)) == {"type": "RUN_STARTED", **ours, "input": run_input}


def test_an_input_is_added_to_nothing_but_a_run_started_without_one() -> None:
    assert b'"input":{"messages":[ ]}' in stamp_event(
        b'{"type":"RUN_STARTED","input":{"messages":[ ]}}', "r", "t", NOW, run_input
    )
    assert b"input" not in stamp_event(b'{"type":"CUSTOM"}', "r", "t", NOW, run_input)
    assert b"input" not in stamp_event(b'{"type":"RUN_STARTED"}', "r", "t", NOW)


@pytest.mark.parametrize("entry", [b"", b"[]", b'"x"', b"{", b'{"a":NaN}', b"{}{}", b'{"a":"\xff"}'])
def test_an_event_that_is_not_a_json_object_is_rejected(entry: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON object|utf-8"):
        stamp_event(entry, "r", "t", NOW)


def test_an_event_with_an_unpaired_surrogate_gets_its_ids() -> None:
    assert dict_of(stamp_event(rb'{"delta":"a\ud83d"}', "r", "t", NOW)) == {**ours, "delta": "a\ufffd"}


@given(
    st.dictionaries(st.text() | st.sampled_from(["runId", "thread_id", "timestamp", "type", "input"]), json_values),
    st.sampled_from([(",", ":"), (" , ", ": ")]),
)
def test_other_members_keep_their_bytes_and_order(fields: dict[str, Any], separators: tuple[str, str]) -> None:
    entry = json.dumps(fields, separators=separators).encode()
    spliced = stamp_event(entry, "r", "t", NOW, run_input)
    before, after = members(entry), members(spliced)
    assert before is not None
    assert after is not None
    touched = {"runId", "run_id", "threadId", "thread_id", "timestamp", "input"}
    assert list(after)[: len(before)] == list(before)
    assert {key: bytes(value) for key, value in before.items() if key not in touched} == {
        key: bytes(value) for key, value in after.items() if key not in touched
    }
    assert (dict_of(spliced)["runId"], dict_of(spliced)["threadId"]) == ("r", "t")
    assert dict_of(spliced)["timestamp"] == (NOW if fields.get("timestamp") is None else fields["timestamp"])
    assert stamp_event(spliced, "r", "t", NOW + 1, run_input) == spliced
