"""The stream of a run for strict AG-UI clients, and the ids under which they know its messages."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui.client_stream import StrictStream
from app.agui.events import decode
from app.agui.message_ids import known_ids

START = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
CONTENT = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}
END = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
STARTED = {"type": "RUN_STARTED", "threadId": "theirs", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "theirs", "runId": "r"}

OPENING = {"TEXT_MESSAGE_START", "TOOL_CALL_START", "REASONING_START", "REASONING_MESSAGE_START", "STEP_STARTED"}
CLOSING = {
    "TEXT_MESSAGE_END": "TEXT_MESSAGE_START",
    "TOOL_CALL_END": "TOOL_CALL_START",
    "REASONING_END": "REASONING_START",
    "REASONING_MESSAGE_END": "REASONING_MESSAGE_START",
    "STEP_FINISHED": "STEP_STARTED",
}
CONTINUING = {
    "TEXT_MESSAGE_CONTENT": "TEXT_MESSAGE_START",
    "TOOL_CALL_ARGS": "TOOL_CALL_START",
    "REASONING_MESSAGE_CONTENT": "REASONING_MESSAGE_START",
}
KEYS = {"TOOL": "toolCallId", "STEP": "stepName"}


def streamed(*events: dict[str, Any], conversation: Any = (), broken: bool = False) -> list[dict[str, Any]]:
    """Return the events that a client gets of a run whose log these events are."""
    stream = StrictStream("mine", "r", conversation)
    out = [event for each in events for event in stream.feed(json.dumps(each).encode(), 1)]
    if broken or not stream.ended:
        out += stream.abort("It broke.", "broken", 1)
    return [json.loads(event) for event in out]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_a_well_formed_run_is_unchanged_but_for_its_thread() -> None:
    events = streamed(STARTED, START, CONTENT, END, FINISHED)
    assert events == [STARTED | {"threadId": "mine"}, START, CONTENT, END, FINISHED | {"threadId": "mine"}]


def test_an_event_that_needs_no_change_keeps_its_bytes() -> None:
    stream = StrictStream("mine", "r")
    stream.feed(json.dumps(STARTED).encode(), 1)
    raw = b'{ "type":"CUSTOM", "name":"n","value":12345678901234567890.10}'
    assert stream.feed(raw, 1) == [raw]


def test_null_members_and_ids_added_by_the_log_are_removed() -> None:
    log = START | {"name": None, "threadId": "t", "runId": "r", "thread_id": "t", "run_id": "r"}
    assert streamed(STARTED, log)[1] == START


def test_a_run_without_run_started_gets_one_and_earlier_raw_events_follow_it() -> None:
    raw = {"type": "RAW", "event": {}}
    assert types(streamed(raw, STARTED, FINISHED)) == ["RUN_STARTED", "RAW", "RUN_FINISHED"]
    assert types(streamed(raw, START, END, FINISHED))[:3] == ["RUN_STARTED", "RAW", "TEXT_MESSAGE_START"]
    assert types(streamed(STARTED, STARTED, FINISHED)) == ["RUN_STARTED", "RUN_FINISHED"]


def test_nothing_follows_the_first_terminal_event() -> None:
    error = {"type": "RUN_ERROR", "message": "no"}
    assert types(streamed(STARTED, error, FINISHED, broken=True)) == ["RUN_STARTED", "RUN_ERROR"]
    assert types(streamed(STARTED, FINISHED, error, START)) == ["RUN_STARTED", "RUN_FINISHED"]


def test_open_parts_are_closed_before_the_terminal_event() -> None:
    subagent = {"type": "SUBAGENT_STARTED", "subagentRunId": "s", "name": "n"}
    for end in (FINISHED, {"type": "RUN_ERROR", "message": "no"}):
        events = streamed(STARTED, subagent, START, end)
        assert types(events)[3:] == ["TEXT_MESSAGE_END", "SUBAGENT_FINISHED", end["type"]]
    failed = {"type": "SUBAGENT_ERROR", "subagentRunId": "s", "message": "no"}
    assert types(streamed(STARTED, subagent, failed, FINISHED))[2:] == ["SUBAGENT_ERROR", "RUN_FINISHED"]


def test_an_aborted_stream_ends_with_run_error() -> None:
    events = streamed(STARTED, START)
    assert types(events)[2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert (events[-1]["message"], events[-1]["code"]) == ("It broke.", "broken")
    assert types(streamed()) == ["RUN_STARTED", "RUN_ERROR"]


def test_reasoning_without_an_id_gets_one_that_is_recognised_later() -> None:
    thoughts = [
        {"type": "REASONING_START", "runId": "r"},
        {"type": "REASONING_MESSAGE_START", "role": "assistant", "runId": "r"},
        {"type": "REASONING_MESSAGE_CONTENT", "delta": "x", "runId": "r"},
        {"type": "REASONING_MESSAGE_END", "runId": "r"},
        {"type": "REASONING_END", "runId": "r"},
    ]
    events = streamed(STARTED, *thoughts, *thoughts, FINISHED)[1:-1]
    assert types(events) == [each["type"] for each in thoughts] * 2
    assert [event["messageId"] for event in events] == ["r-1", *["r-2"] * 3, "r-1", "r-3", *["r-4"] * 3, "r-3"]
    assert {event.get("role") for event in events} == {None, "reasoning"}
    assert known_ids(decode(json.dumps(each).encode() for each in thoughts * 2)) == {"r-1", "r-2", "r-3", "r-4"}


def test_a_snapshot_of_one_run_comes_after_the_messages_that_the_client_knew() -> None:
    old, new = {"id": "1", "role": "user", "content": "One"}, {"id": "2", "role": "user", "content": "Two"}
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [new]}
    assert streamed(STARTED, snapshot, conversation=[old, new])[1]["messages"] == [old, new]
    assert streamed(STARTED, snapshot)[1] == snapshot


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b"\xff", b'{"type":1}', b"{}"])
def test_entries_that_are_not_events_are_dropped(raw: bytes) -> None:
    assert StrictStream("mine", "r").feed(raw, 1) == []


def key(kind: str) -> str:
    return KEYS.get(kind.split("_", maxsplit=1)[0], "messageId")


PARTS = st.sampled_from(sorted(OPENING | CLOSING.keys() | CONTINUING.keys()))
EVENTS = st.one_of(
    st.builds(lambda kind, name: {"type": kind, key(kind): name}, PARTS, st.sampled_from(["a", "b", None])),
    st.sampled_from([STARTED, FINISHED, {"type": "RUN_ERROR", "message": "no"}, {"type": "CUSTOM", "name": None}]),
)


@given(st.lists(EVENTS, max_size=30))
def test_the_stream_of_any_log_is_well_formed(log: list[dict[str, Any]]) -> None:
    """Check the rules of the official client's verifier."""
    events = streamed(*log)
    assert types(events)[0] == "RUN_STARTED"
    assert [kind in {"RUN_FINISHED", "RUN_ERROR"} for kind in types(events)] == [False] * (len(events) - 1) + [True]
    assert types(events).count("RUN_STARTED") == 1
    open_parts: set[tuple[str, Any]] = set()
    for event in events:
        kind, name = event["type"], event.get(key(event["type"]))
        assert None not in event.values()
        if kind in OPENING:
            assert (kind, name) not in open_parts
            open_parts.add((kind, name))
        elif kind in CONTINUING:
            assert (CONTINUING[kind], name) in open_parts
        elif kind in CLOSING:
            open_parts.remove((CLOSING[kind], name))
    assert not open_parts


def test_every_id_that_a_client_may_use_for_a_message_is_known() -> None:
    log = [
        STARTED | {"input": {"messages": [{"id": "u"}]}},
        START,
        {"type": "TOOL_CALL_START", "toolCallId": "c", "parentMessageId": "p"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": "c", "messageId": "t"},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "s"}, {"id": 1}, 2]},
    ]
    assert known_ids(decode(json.dumps(event).encode() for event in log)) == {"u", "m", "c", "p", "t", "s"}


@pytest.mark.parametrize(
    ("event", "mended"),
    [
        ({"type": "CUSTOM", "name": "n", "value": 1, "timestamp": 1795972000123.25}, {"timestamp": 1795972000123}),
        ({"type": "CUSTOM", "name": "n", "value": 1, "timestamp": "1970-01-01T00:00:01Z"}, {"timestamp": 1000}),
        ({"type": "RUN_ERROR"}, {"message": "The agent reported an error."}),
        ({"type": "RUN_ERROR", "message": 7}, {"message": "The agent reported an error."}),
        ({"type": "TOOL_CALL_RESULT", "toolCallId": "c", "content": "x"}, {"messageId": "c-result"}),
        ({"type": "TEXT_MESSAGE_START", "message_id": "m", "role": "assistant"}, {"messageId": "m"}),
    ],
)
def test_what_is_a_little_off_the_schema_is_mended(event: dict[str, Any], mended: dict[str, Any]) -> None:
    stream = StrictStream("t", "r")
    sent = [json.loads(each) for each in stream.feed(json.dumps(event).encode(), 1)]
    assert mended.items() <= sent[-1].items()
