"""The prompt of a turn: what an ACP agent does not know yet."""

from typing import Any

import pytest

from app.agents.acp.prompt import build_prompt
from tests.support.agents.turns import turn

CONVERSATION: list[str | dict[str, Any]] = [
    "Hello",
    {"id": "a1", "role": "assistant", "content": "Hi"},
    {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "a result"},
    "Never received",
    "Now",
]


def test_an_agent_that_knows_nothing_gets_the_conversation() -> None:
    expected = "Our conversation so far:\n\nuser: Hello\nassistant: Hi\ntool: a result\nuser: Never received"
    assert build_prompt(turn(*CONVERSATION), None).text == f"{expected}\n\nThis is new:\n\nNow"


def test_a_long_conversation_is_shortened_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agents.acp.prompt.MAX_HISTORY", 20)
    text = build_prompt(turn("first" * 100, "last but one", "Now"), None).text
    assert text.splitlines()[2:4] == [
        "(Earlier messages are left out.)",
        "…t",
    ]
    assert text.endswith("user: last but one\n\nThis is new:\n\nNow")


def test_the_first_message_is_the_whole_prompt() -> None:
    assert build_prompt(turn("Hello"), None).text == "Hello"


def test_an_agent_that_knows_the_thread_gets_the_new_messages_only() -> None:
    assert build_prompt(turn(*CONVERSATION), "m3").text == "Now"


def test_messages_that_never_arrived_are_sent_later_without_the_agents_own() -> None:
    assert build_prompt(turn(*CONVERSATION), "m0").text == "Never received\n\nNow"


def test_a_last_message_that_is_unknown_counts_as_the_last_of_all() -> None:
    assert build_prompt(turn(*CONVERSATION), "gone").text == "Now"


def test_the_texts_of_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "Look"}, {"type": "binary", "url": "x"}, {"type": "text", "text": "here"}]
    assert build_prompt(turn({"id": "m", "role": "user", "content": parts}), None).text == "Look\nhere"
