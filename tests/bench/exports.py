"""Logs of agents at work, made anew the same each time: as a platform exports them, and event by event."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

SESSION = "s1"
RUNS = 40
BEGUN = 1_764_000_000_000
ESCAPES = {b"<": rb"\u003c", b">": rb"\u003e", b"&": rb"\u0026"}  # as Go's encoder writes them
WORDS = (
    "the session handler reads config and returns error when backend is down so we retry with backoff then write tests "
    'for `parse_events()` in "src/api/handlers.py" & check <Response> types \n\n- fix: update schema café naïve → '
    "résumé 🚀 module function async await import class self None True list[dict] if kubectl get pods -n ambient-code "
    'project status Running Completed Failed\n```python\nprint("hi")\n``` '
)


class Written(NamedTuple):
    """An event and the id of its run."""

    run_id: str
    event: bytes


class Agent:
    """Writes a log: the same seed, the same log."""

    def __init__(self, seed: int = 855) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a log, no secret
        words = WORDS.split(" ")
        self._text = " ".join(self._random.choice(words) for _ in range(20_000))
        self._now = BEGUN
        self.size = 0

    def id(self) -> str:
        """A uuid."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def between(self, least: int, most: int) -> int:
        """A whole number."""
        return self._random.randint(least, most)

    def text(self, least: int, most: int) -> str:
        """So many characters of what agents write."""
        start = self._random.randrange(len(self._text) - most)
        return self._text[start : start + self._random.randint(least, most)]

    def event(self, run_id: str, type_: str, **fields: Any) -> Written:
        """An event as the platform keeps it: keys sorted, a snapshot without its time."""
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
    """About so many MB of `runs` runs, each with texts, tool calls and, at its end, a snapshot.

    A snapshot holds the messages of its run, or `cumulative` those of all runs so far.
    """
    agent = Agent()
    before: list[dict[str, Any]] = []
    for number in range(runs):
        run_id, left = agent.id(), runs - number
        end = agent.size + (megabytes * 1e6 - agent.size) / left
        question = {"id": agent.id(), "role": "user", "content": agent.text(40, 400)}
        messages = [question]
        asked = {"threadId": SESSION, "runId": run_id, "messages": [question], "tools": [], "context": []}
        yield agent.event(run_id, "RUN_STARTED", input={**asked, "forwardedProps": {}, "state": {}})
        asked_as = {"messageId": question["id"]}
        yield agent.event(run_id, "TEXT_MESSAGE_START", **asked_as, role="user", content=question["content"])
        yield agent.event(run_id, "TEXT_MESSAGE_END", **asked_as)
        copies = left if cumulative else 1
        snapshot = 0
        while agent.size + snapshot < end or len(messages) == 1:
            block = list(_said(agent, run_id, messages, most=(end - agent.size - snapshot) / (300 + 80 * copies)))
            yield from block
            snapshot = copies * len(msgspec.json.encode(messages))
        before += messages
        yield agent.event(run_id, "MESSAGES_SNAPSHOT", messages=before if cumulative else messages)
        if number % 13 == 12:
            yield agent.event(run_id, "RUN_ERROR", message="upstream model error")
        else:
            yield agent.event(run_id, "RUN_FINISHED", result={"is_error": False, "num_turns": 3})


def _said(agent: Agent, run_id: str, messages: list[dict[str, Any]], *, most: float) -> Iterator[Written]:
    """A text of at most so many deltas, at least a few, and often a tool call."""
    message: dict[str, Any] = {"id": agent.id(), "role": "assistant", "content": ""}
    messages.append(message)
    yield agent.event(run_id, "TEXT_MESSAGE_START", messageId=message["id"], role="assistant")
    for _ in range(min(agent.between(20, 120), max(6, int(most)))):
        delta = agent.text(40, 90)
        message["content"] += delta
        yield agent.event(run_id, "TEXT_MESSAGE_CONTENT", messageId=message["id"], delta=delta)
    if agent.between(1, 10) <= 6:
        yield from _called(agent, run_id, message, messages)
    yield agent.event(run_id, "TEXT_MESSAGE_END", messageId=message["id"])


def _called(agent: Agent, run_id: str, message: dict[str, Any], messages: list[dict[str, Any]]) -> Iterator[Written]:
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
    told = {"messageId": result["id"], "role": "tool", "content": result["content"]}
    yield agent.event(run_id, "TOOL_CALL_RESULT", toolCallId=call, **told)
    message["toolCalls"] = [{"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}]
    messages.append(result)


def one_message(deltas: int) -> Iterator[Written]:
    """One run that says one long text."""
    agent = Agent()
    run_id, message = agent.id(), agent.id()
    yield agent.event(run_id, "RUN_STARTED", input={"threadId": SESSION, "runId": run_id, "messages": []})
    yield agent.event(run_id, "TEXT_MESSAGE_START", messageId=message, role="assistant")
    for _ in range(deltas):
        yield agent.event(run_id, "TEXT_MESSAGE_CONTENT", messageId=message, delta=agent.text(40, 90))
    yield agent.event(run_id, "TEXT_MESSAGE_END", messageId=message)
    yield agent.event(run_id, "RUN_FINISHED", result={"is_error": False, "num_turns": 1})


def write(file: Path, events: Iterator[Written]) -> int:
    """Write a log as the platform exports it; how many events it has."""
    count = 0
    with file.open("wb") as out:
        out.write(b'{"sessionId":"%b","projectName":"p1","exportDate":"2026-01-01T00:00:00Z","aguiEvents":[' % b"s1")
        for count, (_, event) in enumerate(events, 1):
            out.write(event if count == 1 else b"," + event)
        out.write(b'],"hasLegacy":false}')
    return count
