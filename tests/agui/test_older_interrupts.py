"""Questions in the shapes from before AG-UI 1.0, and answers in the shape of the question."""

from typing import Any

import msgspec
import pytest

from app.agui.events import EVENTS, decode
from app.agui.older_interrupts import OlderInterrupts, answer_in_shape
from app.agui.outcome import Interrupt

BARE = {"type": "RUN_FINISHED"}
MASTRA = {"type": "mastra_suspend", "toolCallId": "c1", "toolName": "delete", "args": {"path": "a"}, "runId": "x"}
HITL = {
    "action_requests": [{"name": "delete", "args": {"path": "a"}, "description": "Delete a?"}],
    "review_configs": [],
}


def custom(value: Any) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "on_interrupt", "value": value}


def asked(*events: dict[str, Any]) -> tuple[Interrupt, ...]:
    questions = OlderInterrupts("r")
    log = list(decode([msgspec.Raw(msgspec.json.encode(event)) for event in events], EVENTS))
    for event in log:
        questions.observe(event)
    return questions.at_end(log[-1])


@pytest.mark.parametrize(
    ("value", "message", "tool", "args"),
    [
        ("May I?", "May I?", None, None),
        ({"question": "May I?"}, "May I?", None, None),
        (MASTRA, None, "delete", {"path": "a"}),
        (HITL, "Delete a?", "delete", {"path": "a"}),
        ({"odd": 1}, None, None, None),
        ([1], None, None, None),
    ],
)
def test_on_interrupt_is_a_question_whatever_its_value(
    value: Any, message: str | None, tool: str | None, args: Any
) -> None:
    encoded = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    for written in (value, encoded):
        [question] = asked(custom(written), BARE)
        assert question.id == "on_interrupt:r:0"
        assert (question.message, question.tool_name, question.args) == (message, tool, args)


def test_on_interrupt_without_a_value_is_no_question() -> None:
    assert asked(custom(None), BARE) == ()


@pytest.mark.parametrize("outcome", [{"type": "success"}, {"type": "cancelled"}, "success"])
def test_an_outcome_goes_before_on_interrupt(outcome: Any) -> None:
    assert asked(custom("May I?"), {**BARE, "outcome": outcome}) == ()


def test_a_null_outcome_is_none() -> None:
    assert len(asked(custom("May I?"), {**BARE, "outcome": None})) == 1


@pytest.mark.parametrize(
    ("members", "id_", "message"),
    [
        ({"interrupt": {"id": "i1", "reason": "human_approval", "payload": {"message": "May I?"}}}, "i1", "May I?"),
        ({"interrupt": {"id": "i1", "reason": "human_approval"}}, "i1", "human_approval"),
        ({"interrupt": {"payload": "May I?"}}, "", "May I?"),
        ({"interrupts": [{"id": "i1", "reason": "why"}]}, "i1", "why"),
        ({}, "", None),
        ({"interrupt": "odd"}, "", None),
    ],
)
def test_an_outcome_that_is_a_string_is_a_question(members: dict[str, Any], id_: str, message: str | None) -> None:
    [question] = asked({**BARE, "outcome": "interrupt", **members})
    assert (question.id, question.message) == (f"interrupt:r:{id_}", message)


def answered(id_: str, *, value: Any = None, forwarded: Any = None, **entry: Any) -> dict[str, Any]:
    given = {"resume": [{"interruptId": id_, "status": "resolved", **entry}], "forwardedProps": forwarded or {}}
    return answer_in_shape(given, lambda run_id: [value] if run_id == "r" else [])


@pytest.mark.parametrize(
    ("value", "entry", "resume"),
    [
        ("May I?", {}, {"approved": True}),
        ("May I?", {"status": "cancelled"}, {"approved": False}),
        ("May I?", {"payload": {"choice": 2}}, {"choice": 2}),
        (HITL, {}, {"decisions": [{"type": "approve"}]}),
        (msgspec.json.encode(HITL).decode(), {"status": "cancelled"}, {"decisions": [{"type": "reject"}]}),
    ],
)
def test_on_interrupt_is_answered_as_a_command(value: Any, entry: dict[str, Any], resume: Any) -> None:
    assert answered("on_interrupt:r:0", value=value, forwarded={"a": 1}, **entry) == {
        "forwardedProps": {"a": 1, "command": {"resume": resume, "interruptEvent": value}}
    }


def test_the_answer_of_a_client_that_knows_the_shape_stays() -> None:
    forwarded = {"command": {"resume": "mine"}}
    assert answered("on_interrupt:r:0", value="May I?", forwarded=forwarded) == {"forwardedProps": forwarded}


@pytest.mark.parametrize(("id_", "named"), [("i1", {"interruptId": "i1"}), ("", {}), ("a:b", {"interruptId": "a:b"})])
def test_an_outcome_that_is_a_string_is_answered_by_one_object(id_: str, named: dict[str, str]) -> None:
    found = answered(f"interrupt:r:{id_}", status="cancelled")
    assert found["resume"] == {**named, "payload": {"approved": False}}


@pytest.mark.parametrize("id_", ["int-1", "ask:1", "on_interrupt:r", "on_interrupt:r:x", "interrupt"])
def test_an_interrupt_of_1_0_is_answered_as_ever(id_: str) -> None:
    assert answered(id_)["resume"] == [{"interruptId": id_, "status": "resolved"}]
