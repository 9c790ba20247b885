"""Logs for the tests of `app.agui`: a run as the platform stores it, and strategies for anything else."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from app.agui.events import FULL_EVENTS, Event, FullEvent, decode

R1 = "0b7e4c2a-9d1f-4a5e-8c3b-2f6a7d8e9f01"
R2 = "1c8f5d3b-ae20-4b6f-9d4c-307b8e9fa012"
THREAD = "session-1773061200"
BOTH = f'"thread_id":"{THREAD}","run_id":"{R1}","threadId":"{THREAD}","runId":"{R1}"'.encode()
IDS = f'"threadId":"{THREAD}","runId":"{R1}"'.encode()

HIDDEN = b'{"event":{"hidden":true,"messageId":"u0","type":"message_metadata"},%b,"type":"RAW"}' % IDS
STARTED = (
    b'{"type":"RUN_STARTED","timestamp":1773061200389,%b,"input":{"threadId":"t","runId":"r","state":{},'
    b'"messages":[{"id":"u1","role":"user","content":"hello"}],"tools":[],"context":[],"forwardedProps":{}}}' % IDS
)
REASONING = b'{"type":"REASONING_MESSAGE_CONTENT","delta":"Let me think\xe2\x80\xa6",%b}' % BOTH
TEXT_START = b'{"type":"TEXT_MESSAGE_START","timestamp":1773061200391,"messageId":"a1","role":"assistant",%b}' % BOTH
TEXT = b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"a1","delta":"Hello!",%b}' % BOTH
CALL_START = (
    b'{"type":"TOOL_CALL_START","timestamp":1773061200395,"toolCallId":"toolu_1","toolCallName":"Bash",'
    b'"parentMessageId":"a1",%b}' % BOTH
)
CALL_ARGS = b'{"type":"TOOL_CALL_ARGS","toolCallId":"toolu_1","delta":"{\\"command\\":\\"ls\\"}",%b}' % BOTH
CALL_RESULT = (
    b'{"type":"TOOL_CALL_RESULT","timestamp":1773061200401,"messageId":"toolu_1-result","toolCallId":"toolu_1",'
    b'"content":"\\"Hello World\\"","role":"tool",%b}' % BOTH
)
SNAPSHOT = (
    b'{"type":"MESSAGES_SNAPSHOT","messages":['
    b'{"id":"u1","role":"user","content":"hello","timestamp":"2026-03-09T13:00:00.389000+00:00"},'
    b'{"id":"d1","role":"developer","content":"Let me think\xe2\x80\xa6"},'
    b'{"id":"a1","role":"assistant","content":"Hello!","toolCalls":[{"id":"toolu_1","type":"function",'
    b'"function":{"name":"Bash","arguments":"{\\"command\\":\\"ls\\"}"}}]},'
    b'{"id":"toolu_1-result","role":"tool","content":"\\"Hello World\\"","toolCallId":"toolu_1","name":"Bash"}],%b}'
    % IDS
)
FINISHED = (
    b'{"type":"RUN_FINISHED","timestamp":1773061203392,%b,"result":{"is_error":false,"duration_ms":3300,'
    b'"usage":{"input_tokens":3,"output_tokens":71},"structured_output":null}}' % IDS
)
PLATFORM_RUN = [
    HIDDEN, STARTED, REASONING, TEXT_START, TEXT, CALL_START, CALL_ARGS, CALL_RESULT, SNAPSHOT, FINISHED
]  # fmt: skip
UNREACHABLE = [
    b'{"type":"RUN_STARTED","threadId":"%b","runId":"%b"}' % (THREAD.encode(), R2.encode()),
    b'{"type":"RUN_ERROR","message":"Runner is not available","threadId":"%b","runId":"%b"}'
    % (THREAD.encode(), R2.encode()),
]


def raw(type_: str | None = None, run: str | None = "r1", thread: str | None = "t1", **fields: Any) -> bytes:
    """Return an event as JSON without the members that are None."""
    event = {"type": type_, "runId": run, "threadId": thread, **fields}
    return json.dumps({key: value for key, value in event.items() if value is not None}).encode()


def log(*raws: bytes) -> list[FullEvent]:
    """Return the events of these entries."""
    return list(decode(raws, FULL_EVENTS))


def bytes_of(events: Iterable[Event]) -> list[bytes]:
    return [bytes(event.raw) for event in events]


def dict_of(event: Event | bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(bytes(event.raw) if isinstance(event, Event) else event)
    return value


def built(value: msgspec.Struct) -> dict[str, Any]:
    """Return a model as it is sent."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)

_TYPES = [
    "RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT", "RAW", "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK", "TEXT_MESSAGE_END", "TOOL_CALL_START", "TOOL_CALL_ARGS",
    "TOOL_CALL_CHUNK", "TOOL_CALL_END", "TOOL_CALL_RESULT", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT",
    "REASONING_MESSAGE_END", "STEP_STARTED", "STEP_FINISHED", "NEVER_HEARD_OF",
]  # fmt: skip
_MEMBERS = [
    "messageId", "message_id", "toolCallId", "tool_call_id", "runId", "run_id", "threadId", "thread_id", "timestamp",
    "delta", "content", "messages", "input", "result", "outcome", "role", "name", "toolCalls", "function", "arguments",
    "args", "id", "error", "text", "is_error", "status", "duration", "parentMessageId", "toolCallName", "stepName",
    "raw", "position", "message",
]  # fmt: skip
_deep_values = st.recursive(
    json_values
    | st.sampled_from(["a", "b", "user", "tool", "", "\ud83d", 1773061200389, 10**20, 1.5e12, "2026-03-09", -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=4),
    max_leaves=12,
)
hostile_events = st.builds(
    lambda type_, fields: json.dumps({"type": type_, **fields}).encode(),
    st.sampled_from(_TYPES) | json_values,
    st.dictionaries(st.sampled_from(_MEMBERS), _deep_values, max_size=6),
)
"""Events of known types whose members may have any type, unpaired surrogates included."""
deltas = st.builds(
    lambda kind, run, name, delta: raw(kind, run=run, messageId=name, toolCallId=name, delta=delta),
    st.sampled_from(["TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS", "REASONING_MESSAGE_CONTENT"]),
    st.sampled_from(["r1", None]),
    st.sampled_from(["m", "n", None]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
)
"""Deltas of two messages and two calls, of a run and of no run."""
