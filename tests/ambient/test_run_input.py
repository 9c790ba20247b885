"""Run inputs that the platform would not pass on whole."""

from typing import Any

import pytest

from app.backends.ambient.run_input import platform_input
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
