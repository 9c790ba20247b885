"""The runner of the fake platform: writes what a run leaves in a session's log, in the shapes of the real one."""

import json
import threading
from collections.abc import Callable
from typing import Any, Literal
from uuid import uuid4

from tests.support.platform_recordings import encode
from tests.support.platform_turns import answer, both_ids_of, events_of, ids_of, now_ms

Json = dict[str, Any]
ROLES = ("user", "assistant", "system", "developer", "tool", "activity", "reasoning")
LASTING = ("RUN_", "STEP_", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "ACTIVITY_SNAPSHOT", "RAW", "CUSTOM", "META")
"""Prefixes of the types of events that stay in a log when it is rewritten."""


class Runner:
    """Writer of the logs of all sessions, which have a name and no project, as on the real platform.

    `pace` says how far a run gets by itself: `finish` to its end, `open` to its beginning (`finish()` ends it), `wait`
    nowhere (`begin()` starts it). Runs of one thread follow one another; if it `overlaps`, the next one begins before
    the last events of the one before. Without `obeys` an interrupt has no effect. A run that does not reach its runner
    fails at once, or if the backend `retries`, when it gives up.

    The platform of March 2026 and later `rewrites` a log: it appends a snapshot of a run's input when it accepts the
    run, and at each run's end it deletes from the whole log what does not last. Every event goes to `listeners`, by the
    name of the session, in the form in which the live stream has it.
    """

    def __init__(
        self, *, rewrites: bool = False, note_event: Callable[[str, str], None] = lambda _name, _type: None
    ) -> None:
        self._note_event = note_event
        self._cut_off: set[str] = set()
        self.rewrites = rewrites
        self.lock = threading.Lock()  # held while an event is stored and sent, and while a listener reads the log
        self.listeners: dict[str, list[Callable[[bytes], None]]] = {}
        self.logs: dict[str, list[bytes] | None] = {}
        self.pace: Literal["finish", "open", "wait"] = "finish"
        self.obeys = True
        self.overlaps = False
        self.retries = False
        self._unreached: dict[str, list[Json]] = {}
        self.reply = "Hello!"
        self._turns: dict[tuple[str, str], int] = {}
        self._asked: dict[tuple[str, str], str] = {}
        self._open: dict[tuple[str, str], Json] = {}
        self._waiting: dict[tuple[str, str], list[Json]] = {}

    def append(self, name: str, *events: Json | bytes, by_backend: bool = False) -> None:
        """Append events to a log: bytes as they are, objects as the real backend completes and sorts them.

        An event that the backend itself writes is no activity of the session.
        """
        lines = self.logs.setdefault(name, [])
        if lines is None:
            lines = self.logs[name] = []
        for event in events:
            with self.lock:
                lines.append(event if isinstance(event, bytes) else encode({"threadId": name} | event))
                self._notify(name, event if isinstance(event, bytes) else _live(event))
            if isinstance(event, dict) and not by_backend:
                self._note_event(name, event.get("type", ""))

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

    def agent_status(self, name: str) -> str | None:
        """Return what the platform derives from a log: the end that comes last counts, whichever run it is of."""
        ended = None
        events = [json.loads(line) for line in self.logs.get(name) or ()]
        for event in reversed([event for event in events if isinstance(event, dict)]):
            match event.get("type"):
                case "RUN_STARTED":
                    return "idle" if ended else "working"
                case "RUN_FINISHED" | "RUN_ERROR" if not ended:
                    ended = event.get("runId")
                case "TOOL_CALL_START" if ended and event.get("runId") != ended:
                    return "idle"
                case "TOOL_CALL_START" if event.get("toolCallName") == "AskUserQuestion":
                    return "waiting_input"
        return "idle" if ended else None

    def prompt(self, name: str, text: str) -> None:
        """Run a session's task, which the real runner sends itself as a hidden message."""
        message = {"id": str(uuid4()), "role": "user", "content": text, "metadata": {"hidden": True}}
        self.accept(name, {"messages": [message]}, up=True)

    def accept(self, name: str, body: Json, *, up: bool) -> Json:
        """Accept any run for any session and return its ids; what is wrong with it is only seen in the log."""
        run: Json = {"threadId": name, "runId": str(uuid4()), "messages": [], "state": {}, "tools": [], "context": []}
        run |= {"forwardedProps": {}} | {key: value for key, value in body.items() if value not in ("", None)}
        ids = ids_of(run)
        messages = run["messages"]
        for message in messages:
            if isinstance(message, dict) and (message.get("metadata") or {}).get("hidden"):
                event = {"hidden": True, "messageId": message.get("id"), "type": "message_metadata"}
                self.append(name, {"type": "RAW", "event": event} | ids, by_backend=True)
        if self.rewrites and messages and not any(isinstance(one.get("content"), list) for one in messages):
            snapshot = {"messages": messages} | ids | {"timestamp": now_ms(), "type": "MESSAGES_SNAPSHOT"}
            self.append(name, snapshot, by_backend=True)
        if not up and self.retries:
            self._unreached.setdefault(name, []).append(run)
        elif not up:
            self._fail(name, ids, "Runner is not available")
        elif not all(isinstance(one, dict) and one.get("role") in ROLES for one in messages):
            self._fail(name, ids, "Runner error: HTTP 500")
        elif not all(tool.get("description") and tool.get("parameters") for tool in run["tools"]):
            self._fail(name, ids, "Runner error: HTTP 500")  # the backend drops members that are empty
        elif isinstance(run["context"], str):
            self._fail(name, ids, "Runner error: HTTP 422")
        else:
            self._waiting.setdefault((name, ids["threadId"]), []).append(run)
            if self.pace != "wait":
                self.begin(name, ids["threadId"])
        return ids

    def come_up(self, name: str) -> None:
        """Be reachable: what the backend tries to send is begun."""
        for run in self._unreached.pop(name, []):
            self._waiting.setdefault((name, run["threadId"]), []).append(run)
            if self.pace != "wait":
                self.begin(name, run["threadId"])

    def give_up(self, name: str) -> None:
        """Let the 50 seconds pass in which the backend tries to reach a session's runner."""
        for run in self._unreached.pop(name, []):
            self._fail(name, ids_of(run), "Runner is not available")

    def begin(self, name: str, thread: str | None = None) -> None:
        """Start the next run of a thread if none is open."""
        key = (name, thread or name)
        if name in self._cut_off or key in self._open or not self._waiting.get(key):
            return
        run = self._open[key] = self._waiting[key].pop(0)
        self.append(name, {"type": "RUN_STARTED", "timestamp": now_ms(), "input": run} | ids_of(run))
        if question := self._asked.pop(key, None):
            self.append(name, answer(run, question))
        if self.pace == "finish":
            self.finish(name, thread)

    def finish(
        self,
        name: str,
        thread: str | None = None,
        *,
        is_error: bool = False,
        asks: bool = False,
        breaks_with: str | None = None,
    ) -> None:
        """End the open run of a thread, then start the next.

        A run has a thought, words and a tool call; one that `asks` has a question instead, which the next run answers.
        One that `breaks_with` an error has got no further than some words.
        """
        key = name, thread or name
        if name in self._cut_off or (run := self._open.pop(key, None)) is None:
            return
        turns = self._turns[key] = self._turns.get(key, 0) + 1
        cost = 0.06 * turns  # the real one reports the total of a process that serves all runs of a thread
        result: Json = {"is_error": is_error, "duration_ms": 3300, "duration_api_ms": 1000, "num_turns": turns}
        usage = {"input_tokens": 3, "output_tokens": 71, "cache_read_input_tokens": 12}
        result |= {"total_cost_usd": cost, "usage": usage, "structured_output": None}
        last: Json = {"type": "RUN_FINISHED"} | ids_of(run)
        turn: list[Json] = []
        if run["messages"] and run["messages"][-1].get("content"):
            turn = list(events_of(run, self.reply, asks=asks, breaks=breaks_with is not None))
            last |= {"timestamp": now_ms()} | ({} if asks else {"result": result})
        if asks:
            self._asked[key] = turn[0]["toolCallId"]
        if breaks_with is not None:
            last = {"type": "RUN_ERROR", "timestamp": now_ms(), "message": breaks_with} | both_ids_of(run)
        self.append(name, *turn[:-2])
        if self.overlaps and self.pace != "finish":
            self.begin(name, thread)
        self.append(name, *turn[-2:], last)
        self.rewrite(name)
        self.begin(name, thread)

    def is_at_work(self, name: str) -> bool:
        """Return whether a run of the session's own thread is open."""
        return (name, name) in self._open

    def interrupt(self, name: str) -> bool:
        """End the open run of the session's own thread; return False if the runner has not had a run yet."""
        if (name, name) not in self._waiting:
            return False
        if self.obeys:
            self.finish(name, is_error=True)
        return True

    def cut_off(self) -> None:
        """Lose the backend: sessions with an open run hang from then on, take runs and interrupts, and do nothing."""
        self._cut_off |= {name for name, _ in self._open}

    def kill(self, name: str) -> None:
        """Die as a pod does: open runs get no end, waiting ones are lost, and the total of the costs starts anew."""
        self._cut_off.discard(name)
        states: tuple[dict[tuple[str, str], Any], ...] = (self._open, self._waiting, self._turns, self._asked)
        for state in states:
            for key in [key for key in state if key[0] == name]:
                del state[key]

    def _fail(self, name: str, ids: Json, text: str) -> None:
        """Write what the backend itself writes for a run that did not reach a runner: events without timestamps."""
        events = {"type": "RUN_STARTED"} | ids, {"type": "RUN_ERROR", "message": text} | ids
        self.append(name, *events, by_backend=True)
        self.rewrite(name)


def _lasts(event: Json) -> bool:
    asks = event["type"] == "TOOL_CALL_START" and event.get("toolCallName") == "AskUserQuestion"
    return asks or event["type"].startswith(LASTING)


def _live(event: Json) -> bytes:
    """Return an event as the live stream has it: with the ids in snake_case, in camelCase or none, by its type."""
    camel = {"threadId", "runId"}
    if "run_id" in event:
        hidden = camel
    elif event["type"] == "MESSAGES_SNAPSHOT" and "timestamp" not in event:
        hidden = camel | {"thread_id", "run_id"}
    else:
        hidden = set()
    return json.dumps({key: value for key, value in event.items() if key not in hidden}).encode()
