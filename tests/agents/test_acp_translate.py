"""ACP session updates as AG-UI events, as real agents send them."""

from typing import Any

import msgspec
import pytest
from acp import schema

from app.agents.acp.translate import Translator, usage
from tests.support.agents.turns import checked

PRINTED = {"t1": "printed by the terminal"}


def translated(*updates: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a turn, each valid by AG-UI's own models, but for `isError`; ids of messages are named in order."""
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


def text(said: str, kind: str = "agent_message_chunk", **more: Any) -> dict[str, Any]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": said}, **more}


def call(update: str = "tool_call_update", **more: Any) -> dict[str, Any]:
    return {"sessionUpdate": update, "toolCallId": "c1", **more}


def content(said: str) -> dict[str, Any]:
    return {"type": "content", "content": {"type": "text", "text": said}}


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_chunks_become_one_message_until_something_else_comes() -> None:
    events = translated(
        text("a"), text("b"), text("hm", "agent_thought_chunk"), text("c"), call("tool_call", title="T")
    )
    assert types(events) == [
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"),
        "REASONING_END",
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_END"),
    ]
    assert [event["messageId"] for event in events[:12]] == ["m1"] * 4 + ["m2"] * 5 + ["m3"] * 3


def test_a_message_with_another_name_is_another_message() -> None:
    events = translated(text("a", messageId="1"), text("b", messageId="1"), text("c", messageId="2"))
    said = [(event["messageId"], event["delta"]) for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert said == [("m1", "a"), ("m1", "b"), ("m2", "c")]


def test_an_empty_chunk_has_no_content() -> None:
    assert types(translated(text(""))) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_END"]


def test_our_own_prompt_is_not_repeated() -> None:
    assert translated(text("hello", "user_message_chunk")) == []


def test_arguments_that_grow_while_the_call_is_pending_are_told_once_and_whole() -> None:
    whole = {"command": "ls", "cwd": "/w"}
    events = translated(
        call("tool_call", title="bash", kind="execute", status="pending", rawInput={"cwd": "/w"}),
        call(status="in_progress", title="ls", rawInput=whole),
        call(status="in_progress", title="ls", rawInput=whole),
        call(status="completed", content=[content("a.txt")], rawOutput={"exit": 0}),
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


def test_arguments_of_a_call_that_never_began_are_told_at_the_end() -> None:
    events = translated(call("tool_call", title="T", status="pending", rawInput={"a": 1}))
    assert types(events) == ["TOOL_CALL_START", "CUSTOM", "TOOL_CALL_ARGS", "TOOL_CALL_END"]


def test_a_call_that_fails_says_so() -> None:
    events = translated(call("tool_call", title="T"), call(status="failed", rawOutput={"error": "no"}))
    assert types(events) == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert (events[-1]["isError"], events[-1]["content"]) == (True, '{"error":"no"}')


def test_a_call_that_ends_twice_has_one_result() -> None:
    ended = call(status="completed", content=[content("done")])
    assert types(translated(call("tool_call", title="T"), ended, ended)).count("TOOL_CALL_RESULT") == 1


def test_a_call_that_is_first_heard_of_in_an_update_begins_there() -> None:
    events = translated(call(title="T", status="completed"))
    assert types(events) == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]


def test_diffs_and_places_are_kept() -> None:
    diff = {"type": "diff", "path": "/w/a", "oldText": "x", "newText": "y"}
    places = [{"path": "/w/a", "line": 3}]
    told = call(status="completed", content=[content("Edited"), diff], locations=places)
    _, _, kept, result = translated(call("tool_call", title="edit"), told)
    assert kept == custom(status="completed", content=[diff], locations=places)
    assert result["content"] == "Edited"


def test_a_call_that_shows_a_terminal_has_its_output_as_the_result() -> None:
    shown = [{"type": "terminal", "terminalId": "t1"}, {"type": "terminal", "terminalId": "gone"}]
    events = translated(call("tool_call", title="bash"), call(status="completed", content=shown))
    assert events[-1]["content"] == "printed by the terminal"


def test_a_plan_is_one_activity_that_is_replaced() -> None:
    entry = {"content": "First", "priority": "high", "status": "pending"}
    first, second = translated(*[{"sessionUpdate": "plan", "entries": [entry]}] * 2)
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
def test_what_ag_ui_has_no_event_for_is_passed_on_as_it_is(update: dict[str, Any]) -> None:
    value = {name: each for name, each in update.items() if name != "sessionUpdate"}
    assert translated(update) == [{"type": "CUSTOM", "name": f"acp.{update['sessionUpdate']}", "value": value}]


@pytest.mark.parametrize(("currency", "expected"), [("USD", 0.25), ("EUR", None)])
def test_the_cost_is_taken_in_dollars(currency: str, expected: float | None) -> None:
    translator = Translator(PRINTED.get)
    cost = schema.Cost(amount=0.25, currency=currency)
    list(translator.events(schema.UsageUpdate(session_update="usage_update", used=1, size=2, cost=cost)))
    assert translator.cost == expected


def test_tokens_are_counted_in_the_words_of_ag_ui() -> None:
    used = schema.Usage(total_tokens=9, input_tokens=3, output_tokens=4, thought_tokens=2, cached_read_tokens=1)
    assert usage(used) == [
        {"inputTokens": 3, "outputTokens": 4, "totalTokens": 9, "reasoningTokens": 2, "cachedInputTokens": 1}
    ]
    assert usage(None) is None


def test_huge_numbers_in_arguments_stay_what_they_are() -> None:
    huge = msgspec.json.decode(b'{"n":12345678901234567890123}')
    [_, arguments, *_] = translated(call("tool_call", title="T", status="in_progress", rawInput=huge))
    assert arguments["delta"] == '{"n":12345678901234567890123}'
