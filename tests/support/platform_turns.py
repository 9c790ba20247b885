"""The events of a turn of the fake platform's agent, in the shapes of the real one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
QUESTION = '{"questions":[{"question":"Which colour?","options":[{"label":"red"},{"label":"blue"}]}]}'


def events_of(run: Json, reply: str, *, asks: bool, breaks: bool) -> Iterator[Json]:
    """Yield a run's events, then the snapshot of its messages. One that `breaks` says something at the most."""
    stamp = datetime.now(UTC).isoformat(timespec="microseconds")
    messages = [message | {"timestamp": stamp} for message in run["messages"]]
    parts = [_question(run)] if asks else [_words(run, reply)] if breaks else [*_thought_and_words(run, reply)]
    for events, said in parts:
        yield from events
        messages += said
    yield {"type": "MESSAGES_SNAPSHOT", "messages": messages} | ids_of(run)


def answer(run: Json, question: str) -> Json:
    """Return the first event of a run that answers a question: whatever its last message says."""
    return _tool_result(question, run["messages"][-1]["content"]) | both_ids_of(run)


_Part = tuple[list[Json], list[Json]]
"""Events, and the messages of the snapshot that they make."""


def _thought_and_words(run: Json, reply: str) -> Iterator[_Part]:
    thought, ids = f"r-{run['runId']}", ids_of(run)
    yield (
        [
            {"type": "REASONING_START", "timestamp": now_ms(), "messageId": thought} | ids,
            {"type": "REASONING_MESSAGE_START", "timestamp": now_ms(), "messageId": thought, "role": "assistant"} | ids,
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": thought, "delta": "Let me think."} | ids,
            {"type": "REASONING_MESSAGE_END", "timestamp": now_ms(), "messageId": thought} | ids,
            {"type": "REASONING_END", "timestamp": now_ms(), "messageId": thought} | ids,
        ],
        [{"id": thought, "role": "reasoning", "content": "Let me think."}],
    )
    yield _words(run, reply)
    call = f"toolu_{run['runId']}"
    events, messages = _call(run, call, "Bash", '{"command":"ls"}')
    events[-1]["result"] = '"Hello World"'
    result = _tool_result(call, '"Hello World"')
    said = {"id": result["messageId"], "name": "Bash"} | {key: result[key] for key in ("role", "content", "toolCallId")}
    yield [*events, result | both_ids_of(run)], [*messages, said]


def _words(run: Json, text: str) -> _Part:
    id_, both = f"a-{run['runId']}", both_ids_of(run)
    events: list[Json] = [
        {"type": "TEXT_MESSAGE_START", "timestamp": now_ms(), "messageId": id_, "role": "assistant"} | both,
        *({"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": each} | both for each in (text[:3], text[3:])),
        {"type": "TEXT_MESSAGE_END", "timestamp": now_ms(), "messageId": id_} | both,
    ]
    return events, [{"id": id_, "role": "assistant", "content": text}]


def _question(run: Json) -> _Part:
    return _call(run, f"toolu_{run['runId']}", "AskUserQuestion", QUESTION)


def _call(run: Json, call: str, name: str, arguments: str) -> _Part:
    both, parent = both_ids_of(run), f"c-{run['runId']}"
    start = {"type": "TOOL_CALL_START", "timestamp": now_ms(), "toolCallId": call, "toolCallName": name}
    function = {"name": name, "arguments": arguments}
    events: list[Json] = [
        start | {"parentMessageId": parent} | both,
        {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": arguments} | both,
        {"type": "TOOL_CALL_END", "timestamp": now_ms(), "toolCallId": call} | both,
    ]
    said = {"id": parent, "role": "assistant", "toolCalls": [{"id": call, "type": "function", "function": function}]}
    return events, [said]


def _tool_result(call: str, content: str) -> Json:
    return {
        "type": "TOOL_CALL_RESULT",
        "timestamp": now_ms(),
        "messageId": f"{call}-result",
        "toolCallId": call,
        "content": content,
        "role": "tool",
    }


def ids_of(run: Json) -> Json:
    """Return the ids of a run, as the platform's own events have them."""
    return {"threadId": run["threadId"], "runId": run["runId"]}


def both_ids_of(run: Json) -> Json:
    """Return the ids of a run in both spellings, as the log has them for some of the runner's events."""
    return ids_of(run) | {"thread_id": run["threadId"], "run_id": run["runId"]}


def now_ms() -> int:
    """Return the time, in ms."""
    return int(time.time() * 1000)
