"""ACP session updates, as real agents send them, translated to AG-UI events."""

from typing import Any

import msgspec
import pytest
from acp import schema
from hypothesis import given
from hypothesis import strategies as st

from app.agents.acp.connection import _read_update
from app.agents.acp.tolerance import read_updates
from app.agents.acp.translate import Translator, to_usage
from tests.support.agents.turns import checked

PRINTED = {"t1": "printed by the terminal"}


def translate(*updates: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a turn, valid by AG-UI's own models but for `isError`, with messages named m1, m2, ..."""
    translator = Translator(PRINTED.get)
    raw = [
        event
        for update in updates
        for event in translator.events(
            schema.SessionNotification.model_validate({"sessionId": "s", "update": update}).update
        )
    ]
    events = [msgspec.json.decode(event) for event in [*raw, *translator.close()]]
    for event in events:
        checked(msgspec.json.encode({name: value for name, value in event.items() if name != "isError"}))
    names: dict[str, str] = {}
    for event in events:
        if "messageId" in event:
            event["messageId"] = names.setdefault(event["messageId"], f"m{len(names) + 1}")
    return events


def text(content: str, kind: str = "agent_message_chunk", **more: Any) -> dict[str, Any]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": content}, **more}


def call(update: str = "tool_call_update", **more: Any) -> dict[str, Any]:
    return {"sessionUpdate": update, "toolCallId": "c1", **more}


def content_part(text: str) -> dict[str, Any]:
    return {"type": "content", "content": {"type": "text", "text": text}}


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_chunks_are_one_message_until_something_else_follows() -> None:
    events = translate(text("a"), text("b"), text("hm", "agent_thought_chunk"), text("c"), call("tool_call", title="T"))
    assert types(events) == [
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"),
        "REASONING_END",
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_END"),
    ]
    assert [event["messageId"] for event in events[:12]] == ["m1"] * 4 + ["m2"] * 5 + ["m3"] * 3


def test_a_chunk_with_another_id_begins_another_message() -> None:
    events = translate(text("a", messageId="1"), text("b", messageId="1"), text("c", messageId="2"))
    deltas = [(event["messageId"], event["delta"]) for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert deltas == [("m1", "a"), ("m1", "b"), ("m2", "c")]


def test_an_empty_chunk_has_no_content() -> None:
    assert types(translate(text(""))) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_END"]


def test_our_own_prompt_is_not_repeated() -> None:
    assert translate(text("hello", "user_message_chunk")) == []


def test_arguments_that_grow_while_the_call_is_pending_are_sent_once() -> None:
    whole = {"command": "ls", "cwd": "/w"}
    events = translate(
        call("tool_call", title="bash", kind="execute", status="pending", rawInput={"cwd": "/w"}),
        call(status="in_progress", title="ls", rawInput=whole),
        call(status="in_progress", title="ls", rawInput=whole),
        call(status="completed", content=[content_part("a.txt")], rawOutput={"exit": 0}),
    )
    assert events == [
        {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "bash"},
        custom(title="bash", kind="execute", status="pending", rawInput={"cwd": "/w"}),
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '{"command":"ls","cwd":"/w"}'},
        {"type": "TOOL_CALL_END", "toolCallId": "c1"},
        custom(status="in_progress", title="ls"),
        custom(status="completed", rawOutput={"exit": 0}),
        {"type": "TOOL_CALL_RESULT", "messageId": "m1", "toolCallId": "c1", "role": "tool", "content": "a.txt"},
    ]


def custom(**value: Any) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "acp.tool_call", "value": {"toolCallId": "c1", **value}}


def test_arguments_of_a_call_that_never_began_are_sent_at_the_end() -> None:
    events = translate(call("tool_call", title="T", status="pending", rawInput={"a": 1}))
    assert types(events) == ["TOOL_CALL_START", "CUSTOM", "TOOL_CALL_ARGS", "TOOL_CALL_END"]


def test_the_result_of_a_failed_call_is_an_error() -> None:
    events = translate(call("tool_call", title="T"), call(status="failed", rawOutput={"error": "no"}))
    assert types(events) == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert (events[-1]["isError"], events[-1]["content"]) == (True, '{"error":"no"}')


def test_a_call_that_ends_twice_has_one_result() -> None:
    ended = call(status="completed", content=[content_part("done")])
    assert types(translate(call("tool_call", title="T"), ended, ended)).count("TOOL_CALL_RESULT") == 1


def test_a_call_begins_with_an_update_if_that_comes_first() -> None:
    events = translate(call(title="T", status="completed"))
    assert types(events) == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]


def test_diffs_and_locations_are_passed_on() -> None:
    diff = {"type": "diff", "path": "/w/a", "oldText": "x", "newText": "y"}
    locations = [{"path": "/w/a", "line": 3}]
    update = call(status="completed", content=[content_part("Edited"), diff], locations=locations)
    _, _, details, result = translate(call("tool_call", title="edit"), update)
    assert details == custom(status="completed", content=[diff], locations=locations)
    assert result["content"] == "Edited"


def test_the_output_of_a_terminal_is_the_result_of_its_call() -> None:
    shown = [{"type": "terminal", "terminalId": "t1"}, {"type": "terminal", "terminalId": "gone"}]
    events = translate(call("tool_call", title="bash"), call(status="completed", content=shown))
    assert events[-1]["content"] == "printed by the terminal"


def test_a_plan_is_one_activity_that_is_replaced() -> None:
    entry = {"content": "First", "priority": "high", "status": "pending"}
    first, second = translate(*[{"sessionUpdate": "plan", "entries": [entry]}] * 2)
    assert first == second
    assert (first["type"], first["content"]) == ("ACTIVITY_SNAPSHOT", {"entries": [entry]})


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "aGk=", "mimeType": "image/png"}},
        {"sessionUpdate": "agent_thought_chunk", "content": {"type": "resource_link", "name": "a", "uri": "file:///a"}},
        {"sessionUpdate": "available_commands_update", "availableCommands": [{"name": "init", "description": "Begin"}]},
        {"sessionUpdate": "current_mode_update", "currentModeId": "plan"},
        {"sessionUpdate": "config_option_update", "configOptions": []},
        {"sessionUpdate": "session_info_update", "title": "A title"},
        {"sessionUpdate": "usage_update", "used": 10, "size": 100},
        {"sessionUpdate": "plan_removed", "planId": "p"},
    ],
)
def test_an_update_without_an_ag_ui_event_is_passed_on_as_custom(update: dict[str, Any]) -> None:
    value = {name: each for name, each in update.items() if name != "sessionUpdate"}
    assert translate(update) == [{"type": "CUSTOM", "name": f"acp.{update['sessionUpdate']}", "value": value}]


@pytest.mark.parametrize(("currency", "expected"), [("USD", 0.25), ("EUR", None)])
def test_only_a_cost_in_dollars_counts(currency: str, expected: float | None) -> None:
    translator = Translator(PRINTED.get)
    cost = schema.Cost(amount=0.25, currency=currency)
    list(translator.events(schema.UsageUpdate(session_update="usage_update", used=1, size=2, cost=cost)))
    assert translator.cost == expected


def test_tokens_are_renamed_for_ag_ui() -> None:
    used = schema.Usage(total_tokens=9, input_tokens=3, output_tokens=4, thought_tokens=2, cached_read_tokens=1)
    assert to_usage(used) == [
        {"inputTokens": 3, "outputTokens": 4, "totalTokens": 9, "reasoningTokens": 2, "cachedInputTokens": 1}
    ]
    assert to_usage(None) is None


def test_large_integers_in_arguments_are_exact() -> None:
    huge = msgspec.json.decode(b'{"n":12345678901234567890123}')
    [_, arguments, *_] = translate(call("tool_call", title="T", status="in_progress", rawInput=huge))
    assert arguments["delta"] == '{"n":12345678901234567890123}'


ANY_CALL: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "sessionUpdate": st.sampled_from(["tool_call", "tool_call_update"]),
        "toolCallId": st.sampled_from(["a", "a-2", ""]),
    },
    optional={
        "title": st.sampled_from(["Read", "Write", "", None]),
        "kind": st.sampled_from(["read", "edit", "odd"]),
        "status": st.sampled_from(["pending", "in_progress", "completed", "failed", "done", None]),
        "rawInput": st.sampled_from([{}, {"path": "a"}, {"path": "ab"}, {"x": 1}, "text", None]),
        "content": st.sampled_from(["out", [], None]),
    },
)
STEPS = {
    "TOOL_CALL_START": {""},
    "TOOL_CALL_ARGS": {"TOOL_CALL_START"},
    "TOOL_CALL_END": {"TOOL_CALL_START", "TOOL_CALL_ARGS"},
    "TOOL_CALL_RESULT": {"TOOL_CALL_END"},
}
"""The events of a call, and those that one may follow."""


@given(st.lists(ANY_CALL | st.just(text("x")), max_size=12))
def test_calls_are_well_formed_whatever_an_agent_sends(updates: list[dict[str, Any]]) -> None:
    translator = Translator(PRINTED.get)
    read = [_read_update(update) for each in updates for update in read_updates(each)]
    raw = [*(event for update in read for event in translator.events(update)), *translator.close()]
    last: dict[str, str] = {}
    open_text = False
    for event in map(msgspec.json.decode, raw):
        if event["type"] in STEPS:
            assert last.get(event["toolCallId"], "") in STEPS[event["type"]]
            assert not (open_text and event["type"] == "TOOL_CALL_START")
            last[event["toolCallId"]] = event["type"]
        elif event["type"].startswith("TEXT_MESSAGE"):
            open_text = event["type"] != "TEXT_MESSAGE_END"
    assert set(last.values()) <= {"TOOL_CALL_END", "TOOL_CALL_RESULT"}
    assert {each["toolCallId"] for each in updates if "toolCallId" in each} <= set(last)
