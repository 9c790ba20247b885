"""The tool calls of an ACP agent's turn as AG-UI events.

A call's name is the title of its first update, which an event cannot change later. So the events of a call without a
title wait for one, at most to the end of the call or of the turn. A later title is a detail like others.

Ids are the agent's, and some agents use one again: for each call anew, or while the call before has no end yet.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import msgspec
from acp import schema

from app.agui.events import encode_event

_FINAL_STATUSES = {"completed", "failed"}

_ToolCall = schema.ToolCallStart | schema.ToolCallProgress


class _Call:
    """The state of one tool call: `args_sent` once its arguments are events, `ended` once its result is."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.name: str | None = None
        """The name of the call, once it is an event."""
        self.title: str | None = None
        self.kind: str | None = None
        self.input: Any = None
        self.args_sent = False
        self.ended = False
        self.last_details: dict[str, Any] = {}
        self.waiting: list[bytes] = []
        """The events that wait for the name."""


class ToolCalls:
    """The tool calls of one turn; `before_call` yields the events that have to come before the first of a call."""

    def __init__(
        self, terminal_output: Callable[[str], str | None], before_call: Callable[[], Iterator[bytes]]
    ) -> None:
        self._terminal_output = terminal_output
        self._before_call = before_call
        self._calls: dict[str, _Call] = {}
        self._ids: set[str] = set()
        self._counts = Counter[str]()

    def id_of(self, agents_call_id: str) -> str | None:
        """Return the id in the log of the last call with this id."""
        call = self._calls.get(agents_call_id)
        return call.id if call else None

    def events(self, update: _ToolCall) -> Iterator[bytes]:
        """Yield the events that an update adds to its call."""
        call = self._calls.get(update.tool_call_id)
        if call is None or _begins_again(call, update):
            if call is not None:
                yield from self._close(call)
            call = self._begin(update.tool_call_id)
        call.title = update.title or call.title
        call.kind = update.kind or call.kind
        call.waiting += self._update_events(update, call)
        if call.title or call.ended:
            yield from self._release(call)

    def close(self) -> Iterator[bytes]:
        """Yield the events that have waited, and the arguments of the calls that never began."""
        for call in self._calls.values():
            yield from self._close(call)

    def _begin(self, agents_id: str) -> _Call:
        id_ = agents_id
        while id_ in self._ids:
            self._counts[agents_id] += 1
            id_ = f"{agents_id}-{self._counts[agents_id] + 1}"
        self._ids.add(id_)
        call = self._calls[agents_id] = _Call(id_)
        return call

    def _close(self, call: _Call) -> Iterator[bytes]:
        call.waiting += _args_events(call)
        if call.waiting:
            yield from self._release(call)

    def _release(self, call: _Call) -> Iterator[bytes]:
        """Yield the events that have waited, the beginning of the call before the first of all."""
        if call.name is None:
            call.name = call.title or call.kind or "tool"
            yield from self._before_call()
            yield encode_event("TOOL_CALL_START", toolCallId=call.id, toolCallName=call.name)
        waiting, call.waiting = call.waiting, []
        yield from waiting

    def _update_events(self, update: _ToolCall, call: _Call) -> Iterator[bytes]:
        if not call.args_sent and update.raw_input:
            call.input = update.raw_input
        ends = update.status in _FINAL_STATUSES and not call.ended
        # While a call is pending its arguments may still grow.
        if ends or (update.status == "in_progress" and call.input):
            yield from _args_events(call)
        yield from self._detail_events(update, call, ends=ends)
        if ends:
            call.ended = True
            failed = True if update.status == "failed" else None
            result = {"messageId": f"result-{uuid4().hex}", "toolCallId": call.id, "role": "tool", "isError": failed}
            yield encode_event("TOOL_CALL_RESULT", **result, content=self._result(update))

    def _detail_events(self, update: _ToolCall, call: _Call, *, ends: bool) -> Iterator[bytes]:
        """Yield what AG-UI's events of the call do not say, unless that is the same as in the update before."""
        value = to_json(update)
        if call.args_sent and update.raw_input == call.input:
            value.pop("rawInput", None)
        if ends:
            value["content"] = [part for part in value.get("content", []) if not _is_text(part)]
            if not self._texts(update):
                value.pop("rawOutput", None)  # it is the result
        details = {name: each for name, each in value.items() if each not in ([], {})}
        in_events = {"toolCallId", "kind"} | ({"status"} if ends else set())
        if call.name in {None, update.title}:
            in_events.add("title")
        if details.keys() - in_events and details != call.last_details:
            call.last_details = details
            yield encode_event("CUSTOM", name="acp.tool_call", value=details)

    def _result(self, update: _ToolCall) -> str:
        """Return the texts of a tool's output; if there are none, its raw output."""
        if (texts := self._texts(update)) or update.raw_output is None:
            return "\n".join(texts)
        output = update.raw_output
        return output if isinstance(output, str) else msgspec.json.encode(output).decode()

    def _texts(self, update: _ToolCall) -> list[str]:
        texts: list[str | None] = []
        for part in update.content or []:
            match part:
                case schema.ContentToolCallContent(content=schema.TextContentBlock(text=text)):
                    texts.append(text)
                case schema.TerminalToolCallContent(terminal_id=terminal_id):
                    texts.append(self._terminal_output(terminal_id))
        return [text for text in texts if text]


def _begins_again(call: _Call, update: _ToolCall) -> bool:
    """Return whether an update with the id of a call begins another one: it has ended, or this cannot be the same."""
    if not isinstance(update, schema.ToolCallStart):
        return False
    before, now = call.input, update.raw_input
    if call.ended or not call.title:
        return call.ended
    if before and now:
        return bool(before != now and (call.args_sent or not _has_grown(before, now)))
    return not before and not now and bool(update.title) and update.title != call.title


def _has_grown(before: Any, now: Any) -> bool:
    """Return whether arguments are the same ones as before with more to them."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(name in now and _has_grown(value, now[name]) for name, value in before.items())
    if isinstance(before, str) and isinstance(now, str):
        return now.startswith(before)
    return bool(before == now)


def _args_events(call: _Call) -> Iterator[bytes]:
    if call.args_sent:
        return
    call.args_sent = True
    if call.input:
        yield encode_event("TOOL_CALL_ARGS", toolCallId=call.id, delta=msgspec.json.encode(call.input).decode())
    yield encode_event("TOOL_CALL_END", toolCallId=call.id)


def _is_text(part: dict[str, Any]) -> bool:
    return bool(part["type"] == "content" and part["content"]["type"] == "text")


def to_json(update: Any) -> dict[str, Any]:
    """Return an update as the agent wrote it, without its kind."""
    return without_kind(update.model_dump(mode="json", by_alias=True, exclude_none=True))


def without_kind(value: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an update but for its kind."""
    return {name: each for name, each in value.items() if name != "sessionUpdate"}
