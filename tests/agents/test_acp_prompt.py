"""What an ACP agent is told, by what it knows already."""

from typing import Any

import pytest

from app.agents.acp.prompt import Conversation, prompt, recall
from tests.support.agents.turns import turn

SAID: list[str | dict[str, Any]] = [
    "Hello",
    {"id": "a1", "role": "assistant", "content": "Hi"},
    {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "a result"},
    "Never heard",
    "Now",
]


def test_an_agent_that_knows_nothing_is_told_the_conversation() -> None:
    expected = "Our conversation so far:\n\nuser: Hello\nassistant: Hi\ntool: a result\nuser: Never heard"
    assert prompt(turn(*SAID), None) == f"{expected}\n\nThis is new:\n\nNow"


def test_of_a_long_conversation_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agents.acp.prompt.MAX_HISTORY", 20)
    told = prompt(turn("first" * 100, "last but one", "Now"), None)
    assert told.splitlines()[2:4] == [
        "(What was said first is left out.)",
        "…t",
    ]
    assert told.endswith("user: last but one\n\nThis is new:\n\nNow")


def test_the_first_message_is_told_as_it_is() -> None:
    assert prompt(turn("Hello"), None) == "Hello"


def test_an_agent_that_knows_the_thread_hears_only_what_is_new() -> None:
    assert prompt(turn(*SAID), "m3") == "Now"


def test_what_was_lost_on_its_way_is_told_later_but_not_what_the_agent_said_itself() -> None:
    assert prompt(turn(*SAID), "m0") == "Never heard\n\nNow"


def test_a_message_that_is_not_there_any_more_counts_as_the_last() -> None:
    assert prompt(turn(*SAID), "gone") == "Now"


def test_the_texts_of_parts_are_told() -> None:
    parts = [{"type": "text", "text": "Look"}, {"type": "binary", "url": "x"}, {"type": "text", "text": "here"}]
    assert prompt(turn({"id": "m", "role": "user", "content": parts}), None) == "Look\nhere"


def test_a_conversation_is_recalled_as_it_was() -> None:
    conversation = Conversation("session", "m1", 0.5)
    assert recall(conversation.memory()) == conversation


@pytest.mark.parametrize(
    "memory", [None, "", "garbage", "[]", "{}", '{"session_id":1}', '{"session_id":"s","cost":"x"}']
)
def test_what_is_no_memory_is_nothing(memory: str | None) -> None:
    assert recall(memory) is None
