"""Generated logs, the same each time: as a platform exports them, and event by event."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

SESSION = "s1"
RUNS = 40
FIRST_TIMESTAMP = 1_764_000_000_000
ESCAPES = {b"<": rb"\u003c", b">": rb"\u003e", b"&": rb"\u0026"}  # as Go's encoder writes them
WORDS = (
    "the session handler reads config and returns error when backend is down so we retry with backoff then write tests "
    'for `parse_events()` in "src/api/handlers.py" & check <Response> types \n\n- fix: update schema café naïve → '
    "résumé 🚀 module function async await import class self None True list[dict] if kubectl get pods -n ambient-code "
    'project status Running Completed Failed\n```python\nprint("hi")\n``` '
)


class Written(NamedTuple):
    """An encoded event and the id of its run."""

    run_id: str
    event: bytes


class Agent:
    """A generator of events; the same seed gives the same log."""

    def __init__(self, seed: int = 855) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a log, no secret
        words = WORDS.split(" ")
        self._text = " ".join(self._random.choice(words) for _ in range(20_000))
        self._now = FIRST_TIMESTAMP
        self.size = 0

    def id(self) -> str:
        """Return a random UUID."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def between(self, minimum: int, maximum: int) -> int:
        """Return a random integer."""
        return self._random.randint(minimum, maximum)

    def text(self, minimum: int, maximum: int) -> str:
        """Return a random text of that many characters."""
        start = self._random.randrange(len(self._text) - maximum)
        return self._text[start : start + self._random.randint(minimum, maximum)]

    def event(self, run_id: str, type_: str, **fields: Any) -> Written:
        """Return an event as the platform stores it: keys sorted, a snapshot without a timestamp."""
        self._now += self._random.randint(3, 40)
        event = {"type": type_, "runId": run_id, "threadId": SESSION, **fields}
        if type_ != "MESSAGES_SNAPSHOT":
            event["timestamp"] = self._now
        written = msgspec.json.encode(event, order="sorted")
        for raw, escaped in ESCAPES.items():
            written = written.replace(raw, escaped)
        self.size += len(written) + 1
        return Written(run_id, written)


def log(megabytes: float, *, cumulative: bool = False, runs: int = RUNS) -> Iterator[Written]:
    """Yield about that many MB of `runs` runs, each with texts, tool calls and, at its end, a snapshot.

    A snapshot contains the messages of its run or, if `cumulative`, of all runs so far.
    """
    agent = Agent()
    before: list[dict[str, Any]] = []
    for number in range(runs):
        run_id, left = agent.id(), runs - number
        end = agent.size + (megabytes * 1e6 - agent.size) / left
        user_message = {"id": agent.id(), "role": "user", "content": agent.text(40, 400)}
        messages = [user_message]
        run_input = {"threadId": SESSION, "runId": run_id, "messages": [user_message], "tools": [], "context": []}
        yield agent.event(run_id, "RUN_STARTED", input={**run_input, "forwardedProps": {}, "state": {}})
        message_id = {"messageId": user_message["id"]}
        yield agent.event(run_id, "TEXT_MESSAGE_START", **message_id, role="user", content=user_message["content"])
        yield agent.event(run_id, "TEXT_MESSAGE_END", **message_id)
        copies = left if cumulative else 1
        snapshot = 0
        while agent.size + snapshot < end or len(messages) == 1:
            block = list(_text(agent, run_id, messages, maximum=(end - agent.size - snapshot) / (300 + 80 * copies)))
            yield from block
            snapshot = copies * len(msgspec.json.encode(messages))
        before += messages
        yield agent.event(run_id, "MESSAGES_SNAPSHOT", messages=before if cumulative else messages)
        if number % 13 == 12:
            yield agent.event(run_id, "RUN_ERROR", message="upstream model error")
        else:
            yield agent.event(run_id, "RUN_FINISHED", result={"is_error": False, "num_turns": 3})


def _text(agent: Agent, run_id: str, messages: list[dict[str, Any]], *, maximum: float) -> Iterator[Written]:
    """Yield a text of at most `maximum` deltas, but a few at least, and often a tool call."""
    message: dict[str, Any] = {"id": agent.id(), "role": "assistant", "content": ""}
    messages.append(message)
    yield agent.event(run_id, "TEXT_MESSAGE_START", messageId=message["id"], role="assistant")
    for _ in range(min(agent.between(20, 120), max(6, int(maximum)))):
        delta = agent.text(40, 90)
        message["content"] += delta
        yield agent.event(run_id, "TEXT_MESSAGE_CONTENT", messageId=message["id"], delta=delta)
    if agent.between(1, 10) <= 6:
        yield from _tool_call(agent, run_id, message, messages)
    yield agent.event(run_id, "TEXT_MESSAGE_END", messageId=message["id"])


def _tool_call(agent: Agent, run_id: str, message: dict[str, Any], messages: list[dict[str, Any]]) -> Iterator[Written]:
    call, name = f"toolu_{agent.id()[:24]}", ("Bash", "Read", "Edit", "Grep", "WebFetch")[agent.between(0, 4)]
    arguments = msgspec.json.encode({"command": agent.text(60, 600), "description": agent.text(60, 60)}).decode()
    yield agent.event(run_id, "TOOL_CALL_START", toolCallId=call, toolCallName=name, parentMessageId=message["id"])
    at = 0
    while at < len(arguments):
        size = agent.between(15, 60)
        yield agent.event(run_id, "TOOL_CALL_ARGS", toolCallId=call, delta=arguments[at : at + size])
        at += size
    yield agent.event(run_id, "TOOL_CALL_END", toolCallId=call)
    result = {"id": agent.id(), "role": "tool", "toolCallId": call, "name": name, "content": agent.text(100, 4000)}
    fields = {"messageId": result["id"], "role": "tool", "content": result["content"]}
    yield agent.event(run_id, "TOOL_CALL_RESULT", toolCallId=call, **fields)
    message["toolCalls"] = [{"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}]
    messages.append(result)


def one_message(deltas: int) -> Iterator[Written]:
    """Yield a run with one long message."""
    agent = Agent()
    run_id, message = agent.id(), agent.id()
    yield agent.event(run_id, "RUN_STARTED", input={"threadId": SESSION, "runId": run_id, "messages": []})
    yield agent.event(run_id, "TEXT_MESSAGE_START", messageId=message, role="assistant")
    for _ in range(deltas):
        yield agent.event(run_id, "TEXT_MESSAGE_CONTENT", messageId=message, delta=agent.text(40, 90))
    yield agent.event(run_id, "TEXT_MESSAGE_END", messageId=message)
    yield agent.event(run_id, "RUN_FINISHED", result={"is_error": False, "num_turns": 1})


def write(file: Path, events: Iterator[Written]) -> int:
    """Write a log as the platform exports it, and return the number of its events."""
    count = 0
    with file.open("wb") as out:
        out.write(b'{"sessionId":"%b","projectName":"p1","exportDate":"2026-01-01T00:00:00Z","aguiEvents":[' % b"s1")
        for count, (_, event) in enumerate(events, 1):
            out.write(event if count == 1 else b"," + event)
        out.write(b'],"hasLegacy":false}')
    return count
