"""A conversation in the making: messages, tool calls and runs as a log tells them one after another.

Its texts are never decoded: a text is bytes, what stands between the quotes of JSON strings put together.
"""

from collections.abc import Iterator

import msgspec

from app.agui.messages import (
    CallStatus,
    StoredMessage,
    error_text,
    failed,
    quoted,
    quoted_content,
    quoted_json,
    read_call,
)
from app.agui.outcome import merge_outcomes
from app.agui.times import millis, rfc3339
from app.models.runs import RunStatus
from app.models.wire import WireModel


class Run(msgspec.Struct, eq=False):
    """A run so far; `open_parts` names the message or call of each kind that events without an id belong to."""

    id: str | None
    ending: RunStatus | None = None
    live: list[str] = []
    open_parts: dict[str, str] = {}
    unnamed: int = 0

    def name(self, kind: str) -> str:
        """An id for what has none: the same each time the log is read."""
        self.unnamed += 1
        return f"{self.id or 'log'}:{kind}-{self.unnamed}"


class Call(msgspec.Struct, eq=False):
    """A tool call so far; `parent` is the id of its message, `started` in ms."""

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

    def answer(self, text: bytes | None, *, failed: bool, at: int | None) -> None:
        """Take the call's result, given at `at` ms."""
        self.result = text or self.result or b""
        self.failed = failed or self.failed
        if at is not None and self.started is not None and at >= self.started:
            self.duration = at - self.started


class MessageDraft(msgspec.Struct, eq=False):
    """A message so far; `live_of` is the run whose events alone tell of it."""

    id: str
    role: str
    run: Run
    live_of: Run | None
    texts: list[bytes] | None = None
    calls: dict[str, Call] = {}
    tool_call_id: str | None = None
    name: str | None = None


class _ToolCall(WireModel):
    """`app.models.sessions.ToolCall` with its texts as they are written."""

    id: str
    name: str | None = None
    args: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    status: CallStatus | None = None
    duration: int | None = None


class _Message(WireModel):
    """`app.models.sessions.Message` with its texts as they are written."""

    id: str
    role: str
    content: msgspec.Raw | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    timestamp: str | None = None


class Conversation:
    """Messages in order of first appearance."""

    def __init__(self) -> None:
        self._runs: dict[str | None, Run] = {}
        self._latest: dict[str | None, Run] = {}
        self._drafts: dict[str, MessageDraft] = {}
        self._calls: dict[str, Call] = {}
        self._times: dict[str, int] = {}

    def run(self, run_id: str | None) -> Run:
        """The run of that id; events without one share a run of their own."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = Run(run_id)
        return run

    def begin(self, run: Run, thread_id: str | None) -> None:
        """A thread has one run at a time, so the one before has broken off if it has not ended."""
        before = self._latest.get(thread_id)
        if before is not None and before is not run and before.ending is None:
            before.ending = RunStatus.ERROR
        self._latest[thread_id] = run

    def apply_snapshot(self, run: Run, messages: list[StoredMessage]) -> None:
        """Take a snapshot: it replaces what the run's events have told so far."""
        if not messages:
            return
        for key in run.live:
            if (draft := self._drafts.get(key)) and draft.live_of is run:
                del self._drafts[key]
        run.live.clear()
        self.add(run, messages, live=False)

    def add(self, run: Run, messages: list[StoredMessage], *, live: bool) -> None:
        """Merge messages by id; one without an id is named after its run and its place in the list."""
        for index, message in enumerate(messages):
            self._put(run, message, message.id or f"{run.id or 'log'}:{index}", live=live)

    def _put(self, run: Run, message: StoredMessage, key: str, *, live: bool) -> None:
        fresh = key not in self._drafts
        text = quoted_content(message.content)
        self._drafts[key] = draft = MessageDraft(
            id=key,
            role=message.role or ("tool" if message.tool_call_id else "assistant"),
            run=run,
            live_of=run if live and fresh else None,
            texts=None if text is None else [text],
            tool_call_id=message.tool_call_id,
            name=message.name,
        )
        if draft.live_of:
            run.live.append(key)
        self.date(key, message.timestamp)
        for index, raw in enumerate(message.tool_calls or []):
            self._put_call(draft, raw, index)
        if draft.role == "tool" and message.tool_call_id:
            call = self.call(run, message.tool_call_id)
            call.answer(text or quoted(error_text(message.error) or ""), failed=failed(message), at=None)

    def _put_call(self, draft: MessageDraft, raw: msgspec.Raw, index: int) -> None:
        stored = read_call(raw)
        if stored is None:
            return
        call = self.call(draft.run, stored.id or f"{draft.id}:{index}")
        call.name = stored.name or call.name
        if (args := quoted_json(stored.args)) is not None:
            call.args = [args]
        call.status = stored.status
        error = error_text(stored.error)
        if (result := quoted_json(stored.result)) is not None or error:
            call.answer(result or quoted(error or ""), failed=bool(error), at=None)
        if stored.duration is not None:
            call.duration = stored.duration
        call.parent = draft.id
        draft.calls[call.id] = call

    def message_for(self, run: Run, key: str, role: str) -> MessageDraft:
        """The message of that id, to be continued; one that another run said begins anew."""
        draft = self._drafts.get(key)
        if draft is None or draft.run is not run:
            live_of = run if draft is None else draft.live_of
            if draft is None:
                run.live.append(key)
            draft = self._drafts[key] = MessageDraft(id=key, role=role, run=run, live_of=live_of)
        return draft

    def call(self, run: Run, call_id: str, *, begins: bool = False) -> Call:
        """The call of that id; a new one if there is none, or if another run's had that id and this one begins."""
        call = self._calls.get(call_id)
        if call is None or (begins and call.run is not run):
            call = self._calls[call_id] = Call(call_id, run)
        return call

    def attach(self, run: Run, call: Call, parent_id: str | None) -> None:
        """Hang a call on its assistant message; a call made by another call, or by nothing, is a message of its own."""
        if call.parent in self._drafts:
            return
        if parent_id in self._calls:
            parent_id = None
        parent = self._drafts.get(parent_id or "")
        if parent is None or parent.role != "assistant":
            parent = self.message_for(run, parent_id if parent_id and parent is None else call.id, "assistant")
        call.parent = parent.id
        parent.calls[call.id] = call

    def date(self, key: str, timestamp: object) -> None:
        """Remember when a message was said, if that is known."""
        if (time := millis(timestamp)) is not None:
            self._times[key] = time

    def end(self, run: Run, ending: RunStatus) -> None:
        """Take a terminal event of the run."""
        run.ending = merge_outcomes(run.ending, ending)

    def messages(self, *, session_running: bool) -> Iterator[bytes]:
        """Yield each message as JSON, an `app.models.output.Message`.

        A run without an end goes on only while its session does.
        """
        for draft in self._drafts.values():
            message = _Message(
                id=draft.id,
                role=draft.role,
                content=_string(draft.texts),
                tool_calls=[_tool_call(call, session_running) for call in draft.calls.values()] or None,
                tool_call_id=draft.tool_call_id,
                name=draft.name,
                timestamp=rfc3339(self._times.get(draft.id)),
            )
            yield msgspec.json.encode(message)


def _tool_call(call: Call, session_running: bool) -> _ToolCall:
    return _ToolCall(
        id=call.id,
        name=call.name,
        args=_string(call.args),
        result=None if call.result is None else _string([call.result]),
        status=_status(call, session_running),
        duration=call.duration,
    )


def _string(texts: list[bytes] | None) -> msgspec.Raw | None:
    if texts is None:
        return None
    texts[:] = [b"".join(texts)]  # what follows is told again with all that has been
    return msgspec.Raw(b'"%b"' % texts[0])


def _status(call: Call, session_running: bool) -> CallStatus:
    if call.failed or call.status == "error":
        return "error"
    if call.result is not None:
        return "completed"
    if call.status is not None:
        return call.status
    ending = call.run.ending
    if ending is None:
        return "running" if session_running else "error"
    return "pending" if ending == RunStatus.COMPLETED else "error"
