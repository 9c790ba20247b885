"""The runner of the fake platform: writes what a run leaves in a session's log, in the shapes of the real one."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from tests.support.platform_recordings import encode

Json = dict[str, Any]
ROLES = ("user", "assistant", "system", "developer", "tool", "activity", "reasoning")
LASTING = ("RUN_", "STEP_", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "ACTIVITY_SNAPSHOT", "RAW", "CUSTOM", "META")
"""Prefixes of the types of events that stay in a log when it is rewritten."""


class Runner:
    """Writer of the logs of all sessions, which have a name and no project, as on the real platform.

    `pace` says how far a run gets by itself: `finish` to its end, `open` to its beginning (`finish()` ends it), `wait`
    nowhere (`begin()` starts it). Runs of one thread follow one another. Without `obeys` an interrupt has no effect.

    The platform of March 2026 and later `rewrites` a log: it appends a snapshot of a run's input when it accepts the
    run, and at each run's end it deletes from the whole log what does not last. Every event goes to `listeners`, by the
    name of the session, in the form in which the live stream has it.
    """

    def __init__(self, *, rewrites: bool = False) -> None:
        self.rewrites = rewrites
        self.lock = threading.Lock()  # held while an event is stored and sent, and while a listener reads the log
        self.listeners: dict[str, list[Callable[[bytes], None]]] = {}
        self.logs: dict[str, list[bytes] | None] = {}
        self.pace: Literal["finish", "open", "wait"] = "finish"
        self.obeys = True
        self.reply = "Hello!"
        self._turns: dict[tuple[str, str], int] = {}
        self._open: dict[tuple[str, str], Json] = {}
        self._waiting: dict[tuple[str, str], list[Json]] = {}

    def append(self, name: str, *events: Json | bytes) -> None:
        """Append events to a log: bytes as they are, objects with sorted keys, as the real backend writes them."""
        lines = self.logs.setdefault(name, [])
        if lines is None:
            lines = self.logs[name] = []
        for event in events:
            with self.lock:
                lines.append(event if isinstance(event, bytes) else encode(event))
                self._notify(name, event if isinstance(event, bytes) else _live(event))

    def _notify(self, name: str, line: bytes) -> None:
        for listener in list(self.listeners.get(name, ())):
            listener(line)

    def play(self, name: str, stored: bytes, live: bytes) -> None:
        """Append an event of a recording, in both its forms, and rewrite the log if it ends a run."""
        with self.lock:
            self.logs[name] = [*(self.logs.get(name) or ()), stored]
            if json.loads(stored)["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
                self.rewrite(name)
            self._notify(name, live)

    def rewrite(self, name: str) -> None:
        """Delete from the log what does not last, if the platform does that and the log has a snapshot."""
        lines = self.logs.get(name) or []
        events = [json.loads(line) for line in lines]
        if self.rewrites and any(event.get("type") == "MESSAGES_SNAPSHOT" for event in events):
            self.logs[name] = [line for line, event in zip(lines, events, strict=True) if _lasts(event)]

    def prompt(self, name: str, text: str) -> None:
        """Run a session's task, which the real runner sends itself as a hidden message."""
        message = {"id": str(uuid4()), "role": "user", "content": text, "metadata": {"hidden": True}}
        self.accept(name, {"messages": [message]}, up=True)

    def accept(self, name: str, body: Json, *, up: bool) -> Json:
        """Accept any run for any session and return its ids; what is wrong with it is only seen in the log."""
        run: Json = {"threadId": name, "runId": str(uuid4()), "messages": [], "state": {}, "tools": [], "context": []}
        run |= {"forwardedProps": {}} | {key: value for key, value in body.items() if value not in ("", None)}
        ids = _ids(run)
        messages = run["messages"]
        for message in messages:
            if isinstance(message, dict) and isinstance(hidden := message.get("metadata"), dict) and hidden:
                event = {"hidden": True, "messageId": message.get("id"), "type": "message_metadata"}
                self.append(name, {"type": "RAW", "event": event} | ids)
        if self.rewrites and messages and not any(isinstance(one.get("content"), list) for one in messages):
            self.append(name, {"messages": messages} | ids | {"timestamp": _ms(), "type": "MESSAGES_SNAPSHOT"})
        if not up:
            self._fail(name, ids, "Runner is not available")
        elif not all(isinstance(one, dict) and one.get("id") and one.get("role") in ROLES for one in messages):
            self._fail(name, ids, "Runner error: HTTP 500")
        else:
            self._waiting.setdefault((name, ids["threadId"]), []).append(run)
            if self.pace != "wait":
                self.begin(name, ids["threadId"])
        return ids

    def begin(self, name: str, thread: str | None = None) -> None:
        """Start the next run of a thread if none is open."""
        key = (name, thread or name)
        if key in self._open or not self._waiting.get(key):
            return
        run = self._open[key] = self._waiting[key].pop(0)
        self.append(name, {"type": "RUN_STARTED", "timestamp": _ms(), "input": run} | _ids(run))
        if self.pace == "finish":
            self.finish(name, thread)

    def finish(self, name: str, thread: str | None = None, *, is_error: bool = False) -> None:
        """End the open run of a thread, then start the next."""
        if (run := self._open.pop((name, thread or name), None)) is None:
            return
        turns = self._turns[name, thread or name] = self._turns.get((name, thread or name), 0) + 1
        cost = 0.06 * turns  # the real one reports the total of a process that serves all runs of a thread
        result: Json = {"is_error": is_error, "duration_ms": 3300, "num_turns": 1, "total_cost_usd": cost}
        result["usage"] = {"input_tokens": 3, "output_tokens": 71, "cache_read_input_tokens": 12}
        finished: Json = {"type": "RUN_FINISHED"} | _ids(run)
        if run["messages"] and run["messages"][-1].get("content"):
            self.append(name, *self._turn(run))
            finished |= {"timestamp": _ms(), "result": result}
        self.append(name, finished)
        self.rewrite(name)
        self.begin(name, thread)

    def interrupt(self, name: str) -> bool:
        """End the open run of the session's own thread; return False if the runner has not had a run yet."""
        if (name, name) not in self._waiting:
            return False
        if self.obeys:
            self.finish(name, is_error=True)
        return True

    def kill(self, name: str) -> None:
        """Die as a pod does: open runs get no end, waiting ones are lost, and the total of the costs starts anew."""
        states: tuple[dict[tuple[str, str], Any], ...] = (self._open, self._waiting, self._turns)
        for state in states:
            for key in [key for key in state if key[0] == name]:
                del state[key]

    def _fail(self, name: str, ids: Json, text: str) -> None:
        """Write what the backend itself writes for a run that did not reach a runner: events without timestamps."""
        self.append(name, {"type": "RUN_STARTED"} | ids, {"type": "RUN_ERROR", "message": text} | ids)
        self.rewrite(name)

    def _turn(self, run: Json) -> Iterator[Json]:
        """Yield a thought, a message and a tool call, then the snapshot of the run's messages."""
        ids = _ids(run)
        both = ids | {"thread_id": ids["threadId"], "run_id": ids["runId"]}
        text, call = f"a-{ids['runId']}", f"toolu_{ids['runId']}"
        yield {"type": "REASONING_MESSAGE_START", "timestamp": _ms(), "role": "assistant"} | both
        yield {"type": "REASONING_MESSAGE_CONTENT", "delta": "Let me think."} | both
        yield {"type": "REASONING_MESSAGE_END", "timestamp": _ms()} | both
        yield {"type": "TEXT_MESSAGE_START", "timestamp": _ms(), "messageId": text, "role": "assistant"} | both
        for delta in (self.reply[:3], self.reply[3:]):
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": text, "delta": delta} | both
        yield {"type": "TEXT_MESSAGE_END", "timestamp": _ms(), "messageId": text} | both
        started = {"toolCallId": call, "toolCallName": "Bash", "parentMessageId": text}
        yield {"type": "TOOL_CALL_START", "timestamp": _ms()} | started | both
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": '{"command":"ls"}'} | both
        yield {"type": "TOOL_CALL_END", "timestamp": _ms(), "toolCallId": call} | both
        result = {"toolCallId": call, "content": '"Hello World"', "role": "tool"}
        yield {"type": "TOOL_CALL_RESULT", "timestamp": _ms(), "messageId": f"{call}-result"} | result | both
        function = {"name": "Bash", "arguments": '{"command":"ls"}'}
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")
        messages = [
            *(message | {"timestamp": stamp} for message in run["messages"]),
            {"id": f"d-{ids['runId']}", "role": "developer", "content": "Let me think."},
            {"id": text, "role": "assistant", "content": self.reply}
            | {"toolCalls": [{"id": call, "type": "function", "function": function}]},
            {"id": f"{call}-result", "name": "Bash"} | result,
        ]
        yield {"type": "MESSAGES_SNAPSHOT", "messages": messages} | ids


def _lasts(event: Json) -> bool:
    asks = event["type"] == "TOOL_CALL_START" and event.get("toolCallName") == "AskUserQuestion"
    return asks or event["type"].startswith(LASTING)


def _live(event: Json) -> bytes:
    """Return an event as the live stream has it: with the ids in snake_case, in camelCase or none, by its type."""
    camel = {"threadId", "runId"}
    if event["type"].startswith(("TEXT_", "TOOL_")) and "run_id" in event:
        hidden = camel
    elif event["type"] == "MESSAGES_SNAPSHOT" and "timestamp" not in event:
        hidden = camel | {"thread_id", "run_id"}
    else:
        hidden = set()
    return json.dumps({key: value for key, value in event.items() if key not in hidden}).encode()


def _ids(run: Json) -> Json:
    return {"threadId": run["threadId"], "runId": run["runId"]}


def _ms() -> int:
    return int(time.time() * 1000)
