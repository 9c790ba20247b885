"""Events as text, as somebody without a terminal sees them."""

import json
from typing import Any

import pytest
from _pytest.capture import CaptureResult

from app.cli.render import MAX_ARGS, Renderer
from app.cli.terminal import Screen, printable_json


def shown(capsys: pytest.CaptureFixture[str], *events: dict[str, Any], show_users: bool = True) -> "CaptureResult[str]":
    """Standard output and standard error after these events."""
    with Screen() as screen:
        renderer = Renderer(screen, show_users=show_users)
        for event in events:
            renderer.show(event)
    return capsys.readouterr()


def delta(text: Any, message: Any = "m1", kind: str = "TEXT_MESSAGE_CONTENT") -> dict[str, Any]:
    return {"type": kind, "messageId": message, "delta": text}


def test_a_message_grows_and_the_next_one_begins_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown(capsys, delta("a\t"), delta("b"), delta("c", "m2"), {"type": "TEXT_MESSAGE_END"})
    assert out == "a\tb\nc\n"


def test_a_users_message_is_shown_unless_the_user_is_the_reader(capsys: pytest.CaptureFixture[str]) -> None:
    messages = [{"role": "user", "content": "old"}, {"role": "user", "content": [{"type": "text", "text": "new"}]}]
    started = {"type": "RUN_STARTED", "input": {"messages": messages}}
    assert shown(capsys, started).out == "> new\n"
    assert shown(capsys, started, show_users=False).out == ""


def test_a_tool_call_is_one_line_and_a_long_result_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown(
        capsys,
        {"type": "TOOL_CALL_START", "toolCallId": "1", "toolCallName": "look"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "1", "delta": '{"at":'},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "1", "delta": "x" * 500},
        {"type": "TOOL_CALL_END", "toolCallId": "1"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": "1", "content": "\n".join("abcdefghijk")},
    )
    call, *result = out.splitlines()
    assert call == f"→ look {('{' + chr(34) + 'at' + chr(34) + ':' + 'x' * 500)[:MAX_ARGS]}…"
    assert result == [*(f"  {letter}" for letter in "abcdefgh"), "  … and 3 more lines"]


def test_a_run_that_stored_only_a_snapshot_shows_its_last_message(capsys: pytest.CaptureFixture[str]) -> None:
    roles = [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{"role": role, "content": text} for role, text in roles]}
    assert shown(capsys, {"type": "RUN_STARTED"}, snapshot).out == "4\n"
    assert shown(capsys, {"type": "RUN_STARTED"}, delta("4"), snapshot).out == "4\n"


@pytest.mark.parametrize(
    ("event", "note"),
    [
        ({"type": "RUN_ERROR", "message": "no"}, "The run failed: no\n"),
        ({"type": "RUN_FINISHED", "result": {"is_error": True}}, "The run failed.\n"),
        ({"type": "RUN_FINISHED", "outcome": {"type": "cancelled"}}, "Interrupted.\n"),
        ({"type": "RUN_FINISHED", "outcome": {"type": "interrupt"}}, "The agent is waiting for an approval.\n"),
        ({"type": "RUN_FINISHED", "outcome": {"type": "success"}}, ""),
        (
            {"type": "CUSTOM", "name": "approval.requested", "value": {"id": "a"}},
            "The agent is waiting for an approval.\n",
        ),
        ({"type": "CUSTOM", "name": "approval.requested", "value": "a"}, ""),
        ({"type": "CUSTOM", "name": "approval.resolved", "value": {"id": "a"}}, ""),
    ],
)
def test_an_end_other_than_success_is_noted_on_standard_error(
    capsys: pytest.CaptureFixture[str], event: dict[str, Any], note: str
) -> None:
    assert shown(capsys, delta("so far"), event) == ("so far\n", note)


def test_the_output_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, delta("\x1b[2J\x07a\u202eb\x9b1m"), {"type": "RUN_ERROR", "message": "\x1b]0;x\x07"})
    assert (out, err) == ("[2Jab1m\n", "The run failed: ]0;x\n")


@pytest.mark.parametrize(
    "kind", ["RUN_STARTED", "TEXT_MESSAGE_START", "TOOL_CALL_END", "MESSAGES_SNAPSHOT", "NEW", None]
)
@pytest.mark.parametrize("value", [None, 1, "text", [1], {"messages": [1, {"role": "user", "content": 1}]}])
def test_members_of_any_type_are_ignored(capsys: pytest.CaptureFixture[str], kind: Any, value: Any) -> None:
    names = ("input", "messages", "content", "role", "delta", "messageId", "toolCallId", "outcome", "result")
    shown(capsys, {"type": kind, **dict.fromkeys(names, value)}, delta(value, value))


def test_printable_json_is_the_same_json_without_control_characters() -> None:
    text = '{"a":\n"\u009b1m\u202e",\t"n": 12345678901234567890}'
    safe = printable_json(text)
    assert json.loads(safe) == json.loads(text)
    assert not {"\n", "\u009b", "\u202e"} & set(safe)
