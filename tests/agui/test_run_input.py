"""Run inputs, as agents get them."""

from typing import Any

from app.agui.run_input import (
    build_resume_input,
    build_run_input,
    is_allowed,
    last_user_message,
    normalize_run_input,
    resume_entry,
)
from app.models.runs import Resume, RunCreate, RunMessage


def test_a_minimal_run_makes_an_input_with_every_member() -> None:
    run = RunCreate(messages=[RunMessage(role="system", content="a", id="m"), RunMessage(role="user", content="b")])
    run_input = build_run_input(run, run_id="r", thread_id="t")
    generated = run_input["messages"][1]["id"]
    assert len(generated) == 36
    assert run_input == {
        "threadId": "t",
        "runId": "r",
        "messages": [
            {"id": "m", "role": "system", "content": "a"},
            {"id": generated, "role": "user", "content": "b"},
        ],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


def test_members_for_the_agent_are_passed_on() -> None:
    run = RunCreate(
        messages=[],
        state=[1],
        tools=[{"a": 1}],
        context=[{"b": 2}],
        forwarded_props={"c": 3},
        resume=[Resume("i", "resolved", payload={"d": 4}), Resume("j", "cancelled")],
    )
    assert build_run_input(run, run_id="r", thread_id="t") == {
        "threadId": "t",
        "runId": "r",
        "messages": [],
        "state": [1],
        "tools": [{"a": 1}],
        "context": [{"b": 2}],
        "forwardedProps": {"c": 3},
        "resume": [
            {"interruptId": "i", "status": "resolved", "payload": {"d": 4}},
            {"interruptId": "j", "status": "cancelled"},
        ],
    }


def test_a_resuming_run_has_no_messages() -> None:
    entry = {"interruptId": "i", "status": "cancelled"}
    run_input = build_resume_input([entry], run_id="r", thread_id="t")
    assert (run_input["messages"], run_input["resume"]) == ([], [entry])
    assert run_input.keys() == build_run_input(RunCreate([]), run_id="r", thread_id="t").keys() | {"resume"}


def test_the_input_of_a_client_gets_our_thread_and_loses_known_messages() -> None:
    old, new = {"id": "1", "role": "user", "content": "One"}, {"id": "2", "role": "user", "content": [{"text": "Two"}]}
    sent = {"threadId": "mine", "runId": "r", "messages": [old, new], "state": 1, "extra": None}
    ours = normalize_run_input(sent, thread_id="s", known={"1"})
    filled: dict[str, Any] = {"tools": [], "context": [], "forwardedProps": {}}
    assert ours == sent | filled | {"threadId": "s", "messages": [new]}
    assert last_user_message(ours) == "Two"


def test_the_last_user_message_is_the_last_with_text() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "1", "role": "user", "content": "One"},
        {"id": "2", "role": "user", "content": [{"type": "binary"}]},
        {"id": "3", "role": "assistant", "content": "Three"},
    ]
    assert last_user_message({"messages": messages}) == "One"
    assert last_user_message({"messages": messages[1:]}) is None


def test_a_decision_goes_into_approved_where_the_schema_has_it() -> None:
    schema = {"properties": {"approved": {"type": "boolean"}}}
    entry = resume_entry("i", schema, allowed=False, payload={"why": "x"})
    assert entry == {"interruptId": "i", "status": "resolved", "payload": {"why": "x", "approved": False}}
    assert not is_allowed(entry["status"], entry["payload"])


def test_without_a_schema_a_denial_cancels_the_interrupt() -> None:
    assert resume_entry("i", None, allowed=False, payload=None) == {"interruptId": "i", "status": "cancelled"}
    allowed = resume_entry("i", {}, allowed=True, payload={"x": 1})
    assert allowed == {"interruptId": "i", "status": "resolved", "payload": {"x": 1}}
    assert is_allowed(allowed["status"], allowed["payload"])
    assert not is_allowed("cancelled", None)
