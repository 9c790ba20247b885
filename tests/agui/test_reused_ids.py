"""Ids that agents use again: they count within their run, and one that begins after its end is another part."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.events import FULL_EVENTS, decode
from app.agui.transcript import transcript
from app.models.output import Message

Event = dict[str, Any]


def read(*events: Event) -> list[Message]:
    return transcript(decode([msgspec.json.encode(event) for event in events], FULL_EVENTS), session_running=False)


def text(id_: str, content: str, run: str = "r1", kind: str = "TEXT_MESSAGE") -> list[Event]:
    common = {"messageId": id_, "runId": run}
    return [
        {"type": f"{kind}_START", "role": "assistant", **common},
        {"type": f"{kind}_CONTENT", "delta": content, **common},
        {"type": f"{kind}_END", **common},
    ]


def call(id_: str, args: str, run: str = "r1") -> list[Event]:
    common = {"toolCallId": id_, "runId": run}
    return [
        {"type": "TOOL_CALL_START", "toolCallName": "find", **common},
        {"type": "TOOL_CALL_ARGS", "delta": args, **common},
        {"type": "TOOL_CALL_END", **common},
    ]


def result(id_: str, content: str, run: str = "r1", message: str | None = None) -> Event:
    return {"type": "TOOL_CALL_RESULT", "toolCallId": id_, "content": content, "runId": run, "messageId": message}


def calls(messages: list[Message]) -> list[tuple[Any, Any]]:
    return [(each.args, each.result) for message in messages for each in message.tool_calls or []]


class TestCalls:
    RED, GREEN = ('{"q":"red"}', "1"), ('{"q":"green"}', "2")

    @pytest.mark.parametrize("message", [None, "result"])
    def test_each_keeps_its_arguments_and_its_result(self, message: str | None) -> None:
        messages = read(
            *call("call_0", self.RED[0]),
            result("call_0", "1", message=message),
            *call("call_0", self.GREEN[0]),
            result("call_0", "2", message=message),
        )
        assert calls(messages) == [self.RED, self.GREEN]
        asked = [each.id for found in messages for each in found.tool_calls or []]
        assert [found.tool_call_id for found in messages if found.role == "tool"] == asked
        assert len({found.id for found in messages}) == len(messages)

    def test_results_come_in_the_order_of_the_calls(self) -> None:
        both = [*call("call_0", self.RED[0]), *call("call_0", self.GREEN[0])]
        assert calls(read(*both, result("call_0", "1"), result("call_0", "2"))) == [self.RED, self.GREEN]

    def test_those_of_another_run_are_others(self) -> None:
        first = [*call("call_0", self.RED[0]), result("call_0", "1")]
        second = [*call("call_0", self.GREEN[0], "r2"), result("call_0", "2", "r2")]
        assert calls(read(*first, *second)) == [self.RED, self.GREEN]

    def test_a_result_in_a_later_run_is_that_of_the_open_call(self) -> None:
        assert calls(read(*call("call_0", self.RED[0]), result("call_0", "1", "r2"))) == [self.RED]

    def test_a_snapshot_states_both(self) -> None:
        def stated(id_: str, args: str) -> Event:
            function = {"name": "find", "arguments": args}
            return {"id": id_, "role": "assistant", "toolCalls": [{"id": "call_0", "function": function}]}

        messages = [
            stated("a", self.RED[0]),
            {"id": "b", "role": "tool", "toolCallId": "call_0", "content": "1"},
            stated("c", self.GREEN[0]),
            {"id": "d", "role": "tool", "toolCallId": "call_0", "content": "2"},
        ]
        snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": messages, "runId": "r1"}
        streamed = [*call("call_0", self.RED[0]), result("call_0", "1"), *call("call_0", self.GREEN[0])]
        assert calls(read(snapshot, snapshot)) == [self.RED, self.GREEN]
        assert calls(read(*streamed, snapshot)) == [self.RED, self.GREEN]


class TestMessages:
    def test_a_thought_and_a_text_have_one_id(self) -> None:
        messages = read(*text("m", "hm", kind="REASONING_MESSAGE"), *text("m", "yes"))
        assert [(each.role, each.content) for each in messages] == [("reasoning", "hm"), ("assistant", "yes")]

    def test_a_text_goes_on_until_its_end(self) -> None:
        start, content, end = text("m", "a")
        [message] = read(start, content, start, content, end)
        assert message.content == "aa"

    @given(
        st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["r1", "r2", "r3"]), st.text(min_size=1)))
    )
    def test_none_is_lost_whatever_its_id_and_run(self, said: list[tuple[str, str, str]]) -> None:
        messages = read(*(event for id_, run, content in said for event in text(id_, content, run)))
        assert [each.content for each in messages] == [content for _, _, content in said]
        assert len({each.id for each in messages}) == len(said)
