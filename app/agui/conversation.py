"""The conversation that a log describes: its runs, messages and tool calls as far as the log has been read.

Texts are held escaped (see `json_strings`).

An agent's ids count within their run, and one that begins again after its end is another message or call: some agents
give each answer the same id, or number their calls anew in each step. The second one with an id gets the id with "-2",
and so on. So does the second one in a list of messages, and therefore a snapshot that restates both finds them.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from app.agui.content_parts import message_attachments
from app.agui.json_strings import as_string, escape, escaped
from app.agui.messages import (
    CallStatus,
    StoredMessage,
    content_parts,
    content_text,
    error_text,
    failed,
    json_text,
    read_call,
)
from app.agui.outcome import merge_statuses
from app.clock import millis, rfc3339
from app.models.output import Message, MessageAttachment, ToolCall
from app.models.runs import RunStatus


class Run(msgspec.Struct, eq=False):
    """A run so far.

    `streamed` are the ids of the messages that only events describe, not a snapshot. `open_parts` has the id of the
    message or call of each kind that an event without an id belongs to. `names` has the message of each id of the run.
    """

    id: str | None
    outcome: RunStatus | None = None
    streamed: list[str] = []
    open_parts: dict[str, str] = {}
    names: dict[str, str] = {}
    unnamed: int = 0

    def new_id(self, kind: str) -> str:
        """Return an id for a part that has none, the same one each time the log is read."""
        self.unnamed += 1
        return f"{self.id or 'log'}:{kind}-{self.unnamed}"


class Call(msgspec.Struct, eq=False):
    """A tool call so far; `parent` is the id of its message, `started` and `duration` are in ms.

    It is `ended` when it has all of its arguments.
    """

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
    encrypted_value: str | None = None
    ended: bool = False

    def finish(self, result: bytes | None, *, failed: bool, at: int | None) -> None:
        """Set the result, which was there at `at` (ms)."""
        self.ended = True
        self.result = result or self.result or b""
        self.failed = failed or self.failed
        if at is not None and self.started is not None and at >= self.started:
            self.duration = at - self.started


class Draft(msgspec.Struct, eq=False):
    """A message so far; `streamed_by` is the run whose events alone describe it, `ended` says that it is complete.

    `parts` is its content as JSON if that is a list of parts, not all of them text.
    """

    id: str
    role: str
    run: Run
    streamed_by: Run | None
    texts: list[bytes] | None = None
    parts: msgspec.Raw | None = None
    calls: dict[str, Call] = {}
    encrypted_value: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    ended: bool = False


class Conversation:
    """Messages in order of first appearance."""

    def __init__(self) -> None:
        self._runs: dict[str | None, Run] = {}
        self._latest: dict[str | None, Run] = {}
        self._drafts: dict[str, Draft] = {}
        self._calls: dict[str, Call] = {}
        self._calls_of_id: dict[str, list[Call]] = {}
        self._times: dict[str, int] = {}
        self._counts: dict[str, int] = {}

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
        seen = Counter[str]()
        placed: dict[str, list[Call]] = {}
        for index, message in enumerate(messages):
            id_ = message.id or f"{run.id or 'log'}:{index}"
            seen[id_] += 1
            self._put(run, message, _nth(id_, seen[id_]), placed, streamed=streamed)

    def message(self, run: Run, id_: str, role: str, *, begins: bool = False) -> Draft:
        """Return the message that the run calls by that id, to continue it.

        It is a new one if there is none, if it is another run's, or if this one begins and that one has ended.
        """
        draft = self._drafts.get(run.names.get(id_, id_))
        if draft is None or draft.run is not run or (begins and draft.ended):
            key = run.names[id_] = self._unused(id_)
            run.streamed.append(key)
            draft = self._drafts[key] = Draft(id=key, role=role, run=run, streamed_by=run)
        return draft

    def end_message(self, run: Run, id_: str) -> None:
        """Note that the message that the run calls by that id has all of its text."""
        if (draft := self._drafts.get(run.names.get(id_, id_))) and draft.run is run:
            draft.ended = True

    def call(self, run: Run, id_: str, *, begins: bool = False) -> Call:
        """Return the last call of that id.

        It is a new one if there is none, or if this one begins and that one has ended or is another run's.
        """
        calls = self._calls_of_id.setdefault(id_, [])
        if not calls or (begins and (calls[-1].run is not run or calls[-1].ended)):
            self._add_call(run, id_)
        return calls[-1]

    def _add_call(self, run: Run, id_: str) -> Call:
        calls = self._calls_of_id.setdefault(id_, [])
        call = self._calls[_nth(id_, len(calls) + 1)] = Call(_nth(id_, len(calls) + 1), run)
        calls.append(call)
        return call

    def call_without_result(self, run: Run, id_: str) -> Call:
        """Return the first call of that id in the run that has no result, or else the last call of that id."""
        calls = self._calls_of_id.get(id_, [])
        waiting = (call for call in calls if call.run is run and call.result is None)
        return next(waiting, None) or self.call(run, id_)

    def attach(self, run: Run, call: Call, parent_id: str | None) -> None:
        """Add a call to its assistant message; one made by another call, or by nothing, gets a message of its own."""
        if call.parent in self._drafts:
            return
        if parent_id in self._calls:
            parent_id = None
        parent = self._drafts.get(run.names.get(parent_id or "", parent_id or ""))
        if parent is None or parent.role != "assistant":
            parent = self.message(run, parent_id if parent_id and parent is None else call.id, "assistant")
        call.parent = parent.id
        parent.calls[call.id] = call

    def set_encrypted_value(self, run: Run, entity_id: str, value: str, *, of_call: bool) -> None:
        """Set the encrypted value of the message or call that the run calls by that id, if there is one."""
        if of_call:
            calls = [call for call in self._calls_of_id.get(entity_id, []) if call.run is run]
            for call in calls[-1:]:
                call.encrypted_value = value
        elif (draft := self._drafts.get(run.names.get(entity_id, entity_id))) and draft.run is run:
            draft.encrypted_value = value

    @property
    def drafts(self) -> list[Draft]:
        """The messages so far, in the order of `messages`."""
        return list(self._drafts.values())

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
                attachments=_attachments(draft),
                tool_calls=[_tool_call(call, session_running) for call in draft.calls.values()] or None,
                tool_call_id=draft.tool_call_id,
                name=draft.name,
                timestamp=rfc3339(self._times.get(draft.id)),
            )
            yield msgspec.json.encode(message)

    def _stated_call(self, draft: Draft, id_: str) -> Call:
        """Return the call that a message of a list states: its own, or one that no other message has."""
        calls = self._calls_of_id.get(id_, [])
        free = (call for call in reversed(calls) if call.parent not in self._drafts)
        own = next((call for call in calls if call.parent == draft.id), None) or next(free, None)
        return own or self._add_call(draft.run, id_)

    def _unused(self, id_: str) -> str:
        """Return the id, or what stands for it if a message has it."""
        count = self._counts.get(id_, 1)
        while _nth(id_, count) in self._drafts:
            count += 1
        self._counts[id_] = count
        return _nth(id_, count)

    def _put(
        self, run: Run, message: StoredMessage, key: str, placed: dict[str, list[Call]], *, streamed: bool
    ) -> None:
        """Add a message of a list; `placed` are the calls of the list's earlier messages, by the agent's ids."""
        fresh = key not in self._drafts
        text = escaped(message.content, content_text)
        self._drafts[key] = draft = Draft(
            id=key,
            role=message.role or ("tool" if message.tool_call_id else "assistant"),
            run=run,
            streamed_by=run if streamed and fresh else None,
            texts=None if text is None else [text],
            parts=content_parts(message.content),
            encrypted_value=message.encrypted_value,
            tool_call_id=message.tool_call_id,
            name=message.name,
        )
        if draft.streamed_by:
            run.streamed.append(key)
        self.set_time(key, message.timestamp)
        for index, raw in enumerate(message.tool_calls or []):
            self._put_call(draft, raw, index, placed)
        if draft.role == "tool" and message.tool_call_id:
            calls = placed.get(message.tool_call_id)
            call = calls.pop(0) if calls else self.call(run, message.tool_call_id)
            draft.tool_call_id = call.id
            call.finish(text or escape(error_text(message.error) or ""), failed=failed(message), at=None)

    def _put_call(self, draft: Draft, raw: msgspec.Raw, index: int, placed: dict[str, list[Call]]) -> None:
        stored = read_call(raw)
        if stored is None:
            return
        id_ = stored.id or f"{draft.id}:{index}"
        call = self._stated_call(draft, id_)
        placed.setdefault(id_, []).append(call)
        call.name = stored.name or call.name
        if (args := escaped(stored.args, json_text)) is not None:
            call.args = [args]
        call.status = stored.status
        call.encrypted_value = stored.encrypted_value or call.encrypted_value
        result, error = escaped(stored.result, json_text), error_text(stored.error)
        if result is not None or error:
            call.finish(result or escape(error or ""), failed=bool(error), at=None)
        if stored.duration is not None:
            call.duration = stored.duration
        call.parent = draft.id
        draft.calls[call.id] = call


def _nth(id_: str, count: int) -> str:
    """Return what stands for an id the second time and later."""
    return id_ if count == 1 else f"{id_}-{count}"


def _tool_call(call: Call, session_running: bool) -> ToolCall:
    return ToolCall(
        id=call.id,
        name=call.name,
        args=_join(call.args),
        result=None if call.result is None else as_string(call.result),
        status=_status(call, session_running),
        duration=call.duration,
    )


def _attachments(draft: Draft) -> list[MessageAttachment] | None:
    return (message_attachments(msgspec.json.decode(draft.parts)) or None) if draft.parts else None


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
