"""The conversation that a log describes: its runs, messages and tool calls as far as the log has been read.

Texts are held escaped (see `json_strings`).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.agui.json_strings import as_string, escape, escaped
from app.agui.messages import (
    CallStatus,
    StoredMessage,
    content_text,
    error_text,
    failed,
    json_text,
    read_call,
)
from app.agui.outcome import merge_statuses
from app.agui.times import millis, rfc3339
from app.models.output import Message, ToolCall
from app.models.runs import RunStatus


class Run(msgspec.Struct, eq=False):
    """A run so far.

    `streamed` are the ids of the messages that only events describe, not a snapshot. `open_parts` has the id of the
    message or call of each kind that an event without an id belongs to.
    """

    id: str | None
    outcome: RunStatus | None = None
    streamed: list[str] = []
    open_parts: dict[str, str] = {}
    unnamed: int = 0

    def new_id(self, kind: str) -> str:
        """Return an id for a part that has none, the same one each time the log is read."""
        self.unnamed += 1
        return f"{self.id or 'log'}:{kind}-{self.unnamed}"


class Call(msgspec.Struct, eq=False):
    """A tool call so far; `parent` is the id of its message, `started` and `duration` are in ms."""

    id: str
    run: Run
    parent: str | None = None
    name: str | None = None
    args: list[bytes] | None = None
    result: bytes | None = None
    failed: bool = False
    status: CallStatus | None = None
    started: int | None = None
    duration: int | None = None

    def finish(self, result: bytes | None, *, failed: bool, at: int | None) -> None:
        """Set the result, which was there at `at` (ms)."""
        self.result = result or self.result or b""
        self.failed = failed or self.failed
        if at is not None and self.started is not None and at >= self.started:
            self.duration = at - self.started


class Draft(msgspec.Struct, eq=False):
    """A message so far; `streamed_by` is the run whose events alone describe it."""

    id: str
    role: str
    run: Run
    streamed_by: Run | None
    texts: list[bytes] | None = None
    calls: dict[str, Call] = {}
    tool_call_id: str | None = None
    name: str | None = None


class Conversation:
    """Messages in order of first appearance."""

    def __init__(self) -> None:
        self._runs: dict[str | None, Run] = {}
        self._latest: dict[str | None, Run] = {}
        self._drafts: dict[str, Draft] = {}
        self._calls: dict[str, Call] = {}
        self._times: dict[str, int] = {}

    def run(self, run_id: str | None) -> Run:
        """Return the run of that id, a new one if there is none; events without a run id share one run."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = Run(run_id)
        return run

    def begin_run(self, run: Run, thread_id: str | None) -> None:
        """Make this the thread's current run; the one before ends in error if it has not ended."""
        before = self._latest.get(thread_id)
        if before is not None and before is not run and before.outcome is None:
            before.outcome = RunStatus.ERROR
        self._latest[thread_id] = run

    def end_run(self, run: Run, outcome: RunStatus) -> None:
        """Apply a terminal event of the run."""
        run.outcome = merge_statuses(run.outcome, outcome)

    def apply_snapshot(self, run: Run, messages: list[StoredMessage]) -> None:
        """Add the messages of a snapshot, which replace those that the run's events have described so far."""
        if not messages:
            return
        for key in run.streamed:
            if (draft := self._drafts.get(key)) and draft.streamed_by is run:
                del self._drafts[key]
        run.streamed.clear()
        self.add(run, messages, streamed=False)

    def add(self, run: Run, messages: list[StoredMessage], *, streamed: bool) -> None:
        """Merge messages by id; one without an id gets one from its run and its index in the list."""
        for index, message in enumerate(messages):
            self._put(run, message, message.id or f"{run.id or 'log'}:{index}", streamed=streamed)

    def message(self, run: Run, key: str, role: str) -> Draft:
        """Return the message of that id to continue it, a new one if there is none or if it is another run's."""
        draft = self._drafts.get(key)
        if draft is None or draft.run is not run:
            streamed_by = run if draft is None else draft.streamed_by
            if draft is None:
                run.streamed.append(key)
            draft = self._drafts[key] = Draft(id=key, role=role, run=run, streamed_by=streamed_by)
        return draft

    def call(self, run: Run, call_id: str, *, begins: bool = False) -> Call:
        """Return the call of that id, a new one if there is none, or if this one begins and the id is another run's."""
        call = self._calls.get(call_id)
        if call is None or (begins and call.run is not run):
            call = self._calls[call_id] = Call(call_id, run)
        return call

    def attach(self, run: Run, call: Call, parent_id: str | None) -> None:
        """Add a call to its assistant message; one made by another call, or by nothing, gets a message of its own."""
        if call.parent in self._drafts:
            return
        if parent_id in self._calls:
            parent_id = None
        parent = self._drafts.get(parent_id or "")
        if parent is None or parent.role != "assistant":
            parent = self.message(run, parent_id if parent_id and parent is None else call.id, "assistant")
        call.parent = parent.id
        parent.calls[call.id] = call

    def set_time(self, key: str, timestamp: object) -> None:
        """Set the time of a message if it can be read."""
        if (time := millis(timestamp)) is not None:
            self._times[key] = time

    def messages(self, *, session_running: bool) -> Iterator[bytes]:
        """Yield the JSON of each `Message` so far; a run that has not ended is running only while its session is."""
        for draft in self._drafts.values():
            message = Message(
                id=draft.id,
                role=draft.role,
                content=_join(draft.texts),
                tool_calls=[_tool_call(call, session_running) for call in draft.calls.values()] or None,
                tool_call_id=draft.tool_call_id,
                name=draft.name,
                timestamp=rfc3339(self._times.get(draft.id)),
            )
            yield msgspec.json.encode(message)

    def _put(self, run: Run, message: StoredMessage, key: str, *, streamed: bool) -> None:
        fresh = key not in self._drafts
        text = escaped(message.content, content_text)
        self._drafts[key] = draft = Draft(
            id=key,
            role=message.role or ("tool" if message.tool_call_id else "assistant"),
            run=run,
            streamed_by=run if streamed and fresh else None,
            texts=None if text is None else [text],
            tool_call_id=message.tool_call_id,
            name=message.name,
        )
        if draft.streamed_by:
            run.streamed.append(key)
        self.set_time(key, message.timestamp)
        for index, raw in enumerate(message.tool_calls or []):
            self._put_call(draft, raw, index)
        if draft.role == "tool" and message.tool_call_id:
            call = self.call(run, message.tool_call_id)
            call.finish(text or escape(error_text(message.error) or ""), failed=failed(message), at=None)

    def _put_call(self, draft: Draft, raw: msgspec.Raw, index: int) -> None:
        stored = read_call(raw)
        if stored is None:
            return
        call = self.call(draft.run, stored.id or f"{draft.id}:{index}")
        call.name = stored.name or call.name
        if (args := escaped(stored.args, json_text)) is not None:
            call.args = [args]
        call.status = stored.status
        result, error = escaped(stored.result, json_text), error_text(stored.error)
        if result is not None or error:
            call.finish(result or escape(error or ""), failed=bool(error), at=None)
        if stored.duration is not None:
            call.duration = stored.duration
        call.parent = draft.id
        draft.calls[call.id] = call


def _tool_call(call: Call, session_running: bool) -> ToolCall:
    return ToolCall(
        id=call.id,
        name=call.name,
        args=_join(call.args),
        result=None if call.result is None else as_string(call.result),
        status=_status(call, session_running),
        duration=call.duration,
    )


def _join(texts: list[bytes] | None) -> Any:
    if texts is None:
        return None
    texts[:] = [b"".join(texts)]  # the log may be read on, and then all of it is needed again
    return as_string(texts[0])


def _status(call: Call, session_running: bool) -> CallStatus:
    if call.failed or call.status == "error":
        return "error"
    if call.result is not None:
        return "completed"
    if call.status is not None:
        return call.status
    outcome = call.run.outcome
    if outcome is None:
        return "running" if session_running else "error"
    return "pending" if outcome in {RunStatus.COMPLETED, RunStatus.WAITING} else "error"
