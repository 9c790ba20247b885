"""Run inputs that the platform would not pass on whole."""

from typing import Any

import pytest

from app.backends.ambient.run_input import platform_input, refuse_files
from app.errors import NotSupported

INPUT: dict[str, Any] = {"threadId": "t", "runId": "r", "messages": [], "state": {}, "tools": [], "context": []}


def test_the_version_that_clients_of_ag_ui_1_send_is_no_reason_to_refuse() -> None:
    assert platform_input(INPUT | {"protocolVersion": "1.0"})["runId"] == "r"


def test_members_that_would_be_lost_are_named() -> None:
    with pytest.raises(NotSupported) as refused:
        platform_input(INPUT | {"secret": "value", "x" * 200: 1})
    assert [detail.location for detail in refused.value.details] == ["body.secret", f"body.{'x' * 100}"]
    assert "value" not in str(refused.value.details)


@pytest.mark.parametrize("lost", [{"resume": [{"interruptId": "i"}]}, {"state": ["a list"]}])
def test_members_that_the_platform_drops_are_refused(lost: dict[str, Any]) -> None:
    with pytest.raises(NotSupported):
        platform_input(INPUT | lost)


def test_a_tool_gets_the_members_that_the_runner_requires() -> None:
    [tool] = platform_input(INPUT | {"tools": [{"name": "look"}]})["tools"]
    assert tool == {"name": "look", "description": "look", "parameters": {"type": "object", "properties": {}}}


def said(*messages: dict[str, Any]) -> list[tuple[str, Any]]:
    given = [{"id": f"m{number}", **message} for number, message in enumerate(messages)]
    return [(one["id"], one["content"]) for one in platform_input({"messages": given})["messages"]]


def test_last_message_has_the_texts_of_those_before_it_because_the_agent_gets_no_other() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}
    assert said(user) == [("m0", "Hello")]
    assert said(system, user) == [("m0", "Be brief."), ("m1", "Be brief.\n\nHello")]
    assistant = {"role": "assistant", "content": "Hi"}
    assert said(user, assistant, user) == [("m0", "Hello"), ("m1", "Hi"), ("m2", "Hello\n\nHello")]


def test_texts_in_parts_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert said({"role": "user", "content": parts}) == [("m0", "ab")]


def test_answer_of_a_tool_stays_as_it_is() -> None:
    user, tool = {"role": "user", "content": "Hello"}, {"role": "tool", "toolCallId": "c", "content": "42"}
    assert said(user, tool) == [("m0", "Hello"), ("m1", "42")]


def test_an_image_is_refused_by_its_place_unless_it_is_known() -> None:
    image = {"type": "binary", "mimeType": "image/png", "data": "x"}
    messages = [{"id": "m", "role": "user", "content": [{"type": "text", "text": "Look"}, image]}]
    refuse_files(messages, {"m"})
    with pytest.raises(NotSupported) as refused:
        refuse_files(messages, set())
    assert [detail.location for detail in refused.value.details] == ["body.messages[0].content[1]"]
