"""Transcripts: merged snapshots, streamed runs, and messages and tool calls of every shape."""

from typing import Any

import pytest

from app.agui.run_filter import of_run
from app.agui.transcript import transcript
from tests.support.agui_samples import PLATFORM_RUN, R1, SNAPSHOT, built, log, raw


def read(*raws: bytes, session_running: bool = True) -> list[dict[str, Any]]:
    return [built(message) for message in transcript(log(*raws), session_running=session_running)]


def texts(*raws: bytes) -> list[tuple[str, Any]]:
    return [(message["id"], message.get("content")) for message in read(*raws)]


def user(id: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"id": id, "role": "user", "content": content, **fields}


def assistant(id: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"id": id, "role": "assistant", "content": content, **fields}


def started(*messages: dict[str, Any], run: str = "r1", thread: str = "t1") -> bytes:
    return raw("RUN_STARTED", run=run, thread=thread, input={"messages": list(messages)})


def snapshot(*messages: Any, run: str = "r1") -> bytes:
    return raw("MESSAGES_SNAPSHOT", run=run, messages=list(messages))


def streamed(id: str | None, *deltas: str, run: str = "r1", kind: str = "TEXT_MESSAGE", **fields: Any) -> list[bytes]:
    return [
        raw(f"{kind}_START", run=run, messageId=id, **fields),
        *(raw(f"{kind}_CONTENT", run=run, messageId=id, delta=delta) for delta in deltas),
        raw(f"{kind}_END", run=run, messageId=id),
    ]


def calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return list(message["tool_calls"])


CALL = {
    "id": "toolu_1", "name": "Bash", "args": '{"command":"ls"}', "result": '"Hello World"', "status": "completed",
    "duration": 6,
}  # fmt: skip


def test_a_run_of_the_platform_is_read_from_its_snapshot() -> None:
    assert read(*PLATFORM_RUN) == [
        {"id": "u1", "role": "user", "content": "hello", "timestamp": "2026-03-09T13:00:00.389Z"},
        {"id": "d1", "role": "developer", "content": "Let me think\u2026"},
        {
            "id": "a1", "role": "assistant", "content": "Hello!", "tool_calls": [CALL],
            "timestamp": "2026-03-09T13:00:00.391Z",
        },
        {
            "id": "toolu_1-result", "role": "tool", "content": '"Hello World"', "tool_call_id": "toolu_1",
            "name": "Bash", "timestamp": "2026-03-09T13:00:00.401Z",
        },
    ]  # fmt: skip


def test_a_run_of_the_platform_without_a_snapshot_is_read_from_its_events() -> None:
    assert read(*PLATFORM_RUN[:8]) == [
        {"id": "u1", "role": "user", "content": "hello"},
        {"id": f"{R1}:reasoning-1", "role": "reasoning", "content": "Let me think\u2026"},
        {
            "id": "a1", "role": "assistant", "content": "Hello!", "tool_calls": [CALL],
            "timestamp": "2026-03-09T13:00:00.391Z",
        },
        {
            "id": "toolu_1-result", "role": "tool", "content": '"Hello World"', "tool_call_id": "toolu_1",
            "timestamp": "2026-03-09T13:00:00.401Z",
        },
    ]  # fmt: skip


def test_a_compacted_log_still_has_its_transcript() -> None:
    (message,) = [message for message in read(PLATFORM_RUN[1], SNAPSHOT, PLATFORM_RUN[9]) if message["id"] == "a1"]
    assert calls(message) == [{key: value for key, value in CALL.items() if key != "duration"}]


def test_snapshots_of_runs_are_merged_in_order_of_first_appearance() -> None:
    assert texts(
        snapshot(user("u1", "1"), assistant("a1", "draft")),
        snapshot(user("u2", "2"), assistant("a1", "final"), assistant("a2", "3"), run="r2"),
    ) == [("u1", "1"), ("a1", "final"), ("u2", "2"), ("a2", "3")]


def test_a_running_run_that_began_with_a_snapshot_shows_its_texts() -> None:
    opening = [started(user("u1", "hi")), snapshot(user("u1", "hi"))]
    assert texts(*opening, *streamed("a1", "He", "llo")) == [("u1", "hi"), ("a1", "Hello")]


def test_a_snapshot_replaces_the_streamed_messages_of_its_run() -> None:
    assert texts(
        started(user("u1", "hi")),
        *streamed(None, "hm", kind="REASONING_MESSAGE"),
        *streamed("streamed", "notice", role="system"),
        *streamed("a1", "Hel"),
        snapshot(user("u1", "hi"), {"id": "d1", "role": "developer", "content": "hm"}, assistant("a1", "Hello")),
    ) == [("u1", "hi"), ("d1", "hm"), ("a1", "Hello")]


def test_a_message_continues_after_a_snapshot_in_its_middle() -> None:
    assert texts(
        started(user("u1", "hi")),
        *streamed("a1", "Hel")[:2],
        snapshot(user("u1", "hi"), assistant("a1", "Hel")),
        raw("TEXT_MESSAGE_CONTENT", messageId="a1", delta="lo"),
    ) == [("u1", "hi"), ("a1", "Hello")]


def test_a_killed_run_has_its_texts_although_others_have_snapshots() -> None:
    assert texts(
        started(user("u1", "1")),
        *streamed("a1", "half")[:2],
        started(user("u2", "2"), run="r2"),
        snapshot(user("u2", "2"), assistant("a2", "two"), run="r2"),
    ) == [("u1", "1"), ("a1", "half"), ("u2", "2"), ("a2", "two")]


def test_runs_that_alternate_in_the_log_are_separate() -> None:
    assert texts(
        started(user("u1", "1")),
        started(user("u2", "2"), run="r2", thread="t2"),
        raw("TEXT_MESSAGE_CHUNK", messageId="a1", delta="o"),
        raw("TEXT_MESSAGE_CHUNK", run="r2", messageId="a2", delta="tw"),
        raw("TEXT_MESSAGE_CHUNK", delta="ne"),
        raw("TEXT_MESSAGE_CHUNK", run="r2", delta="o"),
    ) == [("u1", "1"), ("u2", "2"), ("a1", "one"), ("a2", "two")]


def test_a_later_run_that_uses_an_id_again_has_another_message() -> None:
    assert texts(*streamed("m", "one"), *streamed("m", "two", run="r2")) == [("m", "one"), ("m-2", "two")]


def test_history_in_a_later_input_moves_no_message() -> None:
    first = [started(user("u1", "1")), *streamed("a1", "one"), raw("RUN_FINISHED")]
    second = started(user("u1", "1"), assistant("a1", "one"), user("u2", "2"), run="r2")
    assert texts(*first, second, *streamed("a2", "two", run="r2")) == [
        ("u1", "1"),
        ("a1", "one"),
        ("u2", "2"),
        ("a2", "two"),
    ]


def test_the_events_of_one_run_give_its_messages_alone() -> None:
    events = log(*PLATFORM_RUN, snapshot(user("u9", "other"), run="r9"))
    assert [message.id for message in transcript(of_run(events, "r9"))] == ["u9"]


def test_generated_ids_are_the_same_each_time() -> None:
    raws = [
        started({"role": "user", "content": "hi"}),
        *streamed(None, "one"),
        *streamed(None, "two"),
        raw("TEXT_MESSAGE_CONTENT", delta="three"),
    ]
    expected = [("r1:0", "hi"), ("r1:text-1", "one"), ("r1:text-2", "two"), ("r1:text-3", "three")]
    assert texts(*raws) == expected
    assert texts(*raws, raw("CUSTOM")) == expected
    assert texts(*raws, snapshot({"role": "user", "content": "hi"})) == [("r1:0", "hi")]


def test_roles_and_names_pass_unchanged() -> None:
    wizard = {"id": "w", "role": "wizard", "content": "", "name": "Merlin"}
    assert read(snapshot(wizard), *streamed("s", "note", role="system", name="sdk")) == [
        wizard,
        {"id": "s", "role": "system", "content": "note", "name": "sdk"},
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "image", "url": "x"}, {"type": "text", "text": "b"}, "c", 7], "abc"),
        ([], ""),
        ({"text": "no"}, None),
        (7, None),
        (None, None),
    ],
)
def test_content_is_text_if_it_has_any(content: Any, text: str | None) -> None:
    assert [content for _, content in texts(snapshot(user("u", content)))] == [text]
    assert [message.get("content") for message in read(started(user("u", content)))] == [text]


@pytest.mark.parametrize(
    ("stored", "time"),
    [
        (1773061200389, "2026-03-09T13:00:00.389Z"),
        ("2026-03-09T14:00:00+01:00", "2026-03-09T13:00:00.000Z"),
        ("x", None),
    ],
)
def test_a_readable_timestamp_is_rfc_3339(stored: Any, time: str | None) -> None:
    assert [message.get("timestamp") for message in read(snapshot(user("u", "hi", timestamp=stored)))] == [time]


def call_in(message: dict[str, Any], *more: bytes) -> dict[str, Any]:
    """Return the only call of a message in a snapshot."""
    return calls(read(started(), snapshot(message), *more)[0])[0]


def test_a_nested_call_is_read() -> None:
    nested = {"id": "c", "type": "function", "function": {"name": "Bash", "arguments": '{"a":1}'}}
    expected = {"id": "c", "name": "Bash", "args": '{"a":1}', "status": "running"}
    assert call_in(assistant("a", None, toolCalls=[nested])) == expected
    assert call_in(assistant("a", None, tool_calls=[nested])) == expected


def test_a_flat_call_is_read() -> None:
    flat = {
        "id": "c",
        "name": "Bash",
        "args": {"n": 12345678901234567890},
        "result": "ok",
        "status": "completed",
        "duration": 7.0,
    }
    assert call_in(assistant("a", "x", toolCalls=[flat])) == {
        **flat, "args": '{"n": 12345678901234567890}', "duration": 7,
    }  # fmt: skip


@pytest.mark.parametrize("status", ["pending", "running", "completed", "error"])
def test_a_flat_call_without_a_result_has_its_own_status(status: str) -> None:
    call = {"id": "c", "status": status}
    assert call_in(assistant("a", "x", toolCalls=[call]), raw("RUN_FINISHED")) == call


def test_a_call_without_an_id_gets_one_from_its_message() -> None:
    assert call_in(assistant("a", "x", toolCalls=[7, {"name": "Bash", "status": 9, "duration": -1}])) == {
        "id": "a:1", "name": "Bash", "status": "running",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "result", "status"),
    [
        ({"content": "ok"}, "ok", "completed"),
        ({"content": [{"type": "text", "text": "ok"}], "error": None}, "ok", "completed"),
        ({"content": "", "error": "no such file"}, "no such file", "error"),
        ({"content": "out", "error": "exit 1"}, "out", "error"),
        ({"content": "out", "is_error": True}, "out", "error"),
        ({"content": "out", "isError": True}, "out", "error"),
        ({"content": "out", "is_error": False, "error": False}, "out", "completed"),
        ({"content": ""}, "", "completed"),
    ],
)
def test_a_result_decides_the_status_of_its_call(answer: dict[str, Any], result: str, status: str) -> None:
    message = assistant("a", None, toolCalls=[{"id": "c"}])
    restated = snapshot(message, {"id": "t", "role": "tool", "toolCallId": "c", **answer})
    streamed = raw("TOOL_CALL_RESULT", toolCallId="c", messageId="t", **answer)
    for call in (call_in(message, restated), call_in(message, streamed)):
        assert call == {"id": "c", "result": result, "status": status}


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([], "running"),
        ([raw("RUN_FINISHED")], "pending"),
        ([raw("RUN_FINISHED", outcome={"type": "cancelled"})], "error"),
        ([raw("RUN_ERROR", message="x")], "error"),
        ([raw("RUN_STARTED", run="r2")], "error"),
        ([raw("RUN_STARTED", run="r2", thread="t2")], "running"),
    ],
)
def test_a_call_without_a_result_has_the_status_of_its_run(ends: list[bytes], status: str) -> None:
    raws = [started(), raw("TOOL_CALL_START", toolCallId="c", toolCallName="Bash"), *ends]
    assert calls(read(*raws)[0]) == [{"id": "c", "name": "Bash", "status": status}]


def test_a_call_without_a_result_is_an_error_once_its_session_has_stopped() -> None:
    raws = [started(), raw("TOOL_CALL_START", toolCallId="c")]
    assert calls(read(*raws, session_running=False)[0]) == [{"id": "c", "status": "error"}]


def test_a_later_run_can_have_the_result_of_a_call() -> None:
    raws = [started(), raw("TOOL_CALL_START", toolCallId="c"), raw("RUN_FINISHED")]
    answer = started({"id": "t", "role": "tool", "toolCallId": "c", "content": "42"}, run="r2")
    assert calls(read(*raws, answer)[0]) == [{"id": "c", "result": "42", "status": "completed"}]


def test_calls_with_interleaved_arguments_are_separate() -> None:
    messages = read(
        *streamed("a", "x"),
        raw("TOOL_CALL_START", toolCallId="c1", toolCallName="A", parentMessageId="a", timestamp=10),
        raw("TOOL_CALL_START", toolCallId="c2", toolCallName="B", parentMessageId="a", timestamp=11),
        raw("TOOL_CALL_ARGS", toolCallId="c1", delta="1"),
        raw("TOOL_CALL_ARGS", toolCallId="c2", delta="2"),
        raw("TOOL_CALL_ARGS", toolCallId="c1", delta="1"),
        raw("TOOL_CALL_RESULT", toolCallId="c2", content="two", timestamp=15),
        raw("TOOL_CALL_END", toolCallId="c1", result={"n": 1}, timestamp=30),
    )
    assert [message["id"] for message in messages] == ["a", "c2-result"]
    assert calls(messages[0]) == [
        {"id": "c1", "name": "A", "args": "11", "result": '{"n": 1}', "status": "completed", "duration": 20},
        {"id": "c2", "name": "B", "args": "2", "result": "two", "status": "completed", "duration": 4},
    ]


def test_chunks_of_a_call_are_joined_although_only_the_first_has_its_id() -> None:
    (message,) = read(
        raw("TOOL_CALL_CHUNK", toolCallId="c", toolCallName="A", parentMessageId="p", delta="{"),
        raw("TOOL_CALL_CHUNK", delta="}"),
        raw("TOOL_CALL_END", toolCallId="c", error="refused"),
    )
    assert (message["id"], message["role"]) == ("p", "assistant")
    assert calls(message) == [{"id": "c", "name": "A", "args": "{}", "result": "refused", "status": "error"}]


def test_a_call_made_by_a_call_is_a_message_of_its_own() -> None:
    messages = read(
        raw("TOOL_CALL_START", toolCallId="outer", toolCallName="Task"),
        raw("TOOL_CALL_START", toolCallId="inner", toolCallName="Read", parentMessageId="outer"),
    )
    assert [(message["id"], calls(message)[0]["name"]) for message in messages] == [
        ("outer", "Task"),
        ("inner", "Read"),
    ]


@pytest.mark.parametrize("messages", [None, [], "x", [7, None]])
def test_a_snapshot_without_messages_changes_nothing(messages: Any) -> None:
    raws = [started(user("u", "hi")), *streamed("a", "x"), raw("MESSAGES_SNAPSHOT", messages=messages)]
    assert texts(*raws) == [("u", "hi"), ("a", "x")]


def test_one_message_of_37000_deltas_is_one_text() -> None:
    ((_, content),) = texts(*streamed("m", *["x" * 180] * 37_000))
    assert content == "x" * 180 * 37_000


def test_one_call_of_37000_deltas_is_one_text() -> None:
    args = [raw("TOOL_CALL_ARGS", toolCallId="c", delta="x" * 180)] * 37_000
    assert len(calls(read(*args)[0])[0]["args"]) == 180 * 37_000
