"""ACP session updates as AG-UI events.

Chunks of text become messages, thoughts become reasoning, tool calls stay tool calls, and a plan is an activity that
each update replaces. Everything else is passed on as it is, in a CUSTOM event `acp.<kind of update>`; so are, as
`acp.tool_call`, the details of a tool call that AG-UI's events have no place for.
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


class Translator:
    """The translation of one turn; `terminal_output` returns what a terminal has printed, None if it is unknown."""

    def __init__(self, terminal_output: Callable[[str], str | None]) -> None:
        self.cost: float | None = None
        """The total cost of the agent's session in dollars, as last reported."""
        self._calls = _ToolCalls(terminal_output)
        self._plan_id = f"plan-{uuid4().hex}"
        self._kind: str | None = None
        self._message_id = ""
        self._agents_message_id: str | None = None

    def events(self, update: Any) -> Iterator[bytes]:
        """Yield the events that an update adds."""
        match update:
            case schema.AgentMessageChunk(content=schema.TextContentBlock(text=text)):
                yield from self._append_text("TEXT_MESSAGE", text, update.message_id)
            case schema.AgentThoughtChunk(content=schema.TextContentBlock(text=text)):
                yield from self._append_text("REASONING_MESSAGE", text, update.message_id)
            case schema.UserMessageChunk():
                pass  # our own prompt
            case schema.ToolCallStart() | schema.ToolCallProgress():
                if self._calls.is_new(update):
                    yield from self._close_message()
                yield from self._calls.events(update)
            case schema.AgentPlanUpdate():
                plan = _to_json(update)
                yield encode_event(
                    "ACTIVITY_SNAPSHOT", messageId=self._plan_id, activityType="PLAN", content=plan, replace=True
                )
            case _:
                if isinstance(update, schema.UsageUpdate) and update.cost and update.cost.currency == "USD":
                    self.cost = update.cost.amount
                yield encode_event("CUSTOM", name=f"acp.{update.session_update}", value=_to_json(update))

    def close(self) -> Iterator[bytes]:
        """Yield the ends of what is open."""
        yield from self._close_message()
        yield from self._calls.close()

    def _append_text(self, kind: str, text: str, agents_message_id: str | None) -> Iterator[bytes]:
        """Continue the open message, or open another one if the kind or the agent's own id differs."""
        if (kind, agents_message_id) != (self._kind, self._agents_message_id):
            yield from self._close_message()
            # Ids are ours: an agent may continue a message after a tool call, where AG-UI needs another message.
            self._kind, self._agents_message_id, self._message_id = kind, agents_message_id, f"message-{uuid4().hex}"
            is_reasoning = kind == "REASONING_MESSAGE"
            if is_reasoning:
                yield encode_event("REASONING_START", messageId=self._message_id)
            role = "reasoning" if is_reasoning else "assistant"
            yield encode_event(f"{kind}_START", messageId=self._message_id, role=role)
        if text:
            yield encode_event(f"{kind}_CONTENT", messageId=self._message_id, delta=text)

    def _close_message(self) -> Iterator[bytes]:
        if self._kind:
            yield encode_event(f"{self._kind}_END", messageId=self._message_id)
            if self._kind == "REASONING_MESSAGE":
                yield encode_event("REASONING_END", messageId=self._message_id)
        self._kind = None


class _Call:
    """The state of one tool call: `args_sent` once its arguments are events, `ended` once its result is."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.input: Any = None
        self.args_sent = False
        self.ended = False
        self.last_details: dict[str, Any] = {}


class _ToolCalls:
    """The tool calls of one turn."""

    def __init__(self, terminal_output: Callable[[str], str | None]) -> None:
        self._terminal_output = terminal_output
        self._calls: dict[str, _Call] = {}
        self._counts = Counter[str]()

    def is_new(self, update: _ToolCall) -> bool:
        """Return whether the update is the first of its call; an id may begin again after the end of its call."""
        call = self._calls.get(update.tool_call_id)
        return call is None or (call.ended and isinstance(update, schema.ToolCallStart))

    def events(self, update: _ToolCall) -> Iterator[bytes]:
        """Yield the events that an update adds to its call."""
        if self.is_new(update):
            self._counts[update.tool_call_id] += 1
            count = self._counts[update.tool_call_id]
            call_id = update.tool_call_id if count == 1 else f"{update.tool_call_id}-{count}"
            self._calls[update.tool_call_id] = _Call(call_id)
            name = update.title or update.kind or "tool"
            yield encode_event("TOOL_CALL_START", toolCallId=call_id, toolCallName=name)
        call = self._calls[update.tool_call_id]
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

    def close(self) -> Iterator[bytes]:
        """Yield the arguments of the calls that never began."""
        for call in self._calls.values():
            yield from _args_events(call)

    def _detail_events(self, update: _ToolCall, call: _Call, *, ends: bool) -> Iterator[bytes]:
        """Yield what AG-UI's events of the call do not say, unless that is the same as in the update before."""
        value = _to_json(update)
        if call.args_sent and update.raw_input == call.input:
            value.pop("rawInput", None)
        if ends:
            value["content"] = [part for part in value.get("content", []) if not _is_text(part)]
            if not self._texts(update):
                value.pop("rawOutput", None)  # it is the result
        details = {name: each for name, each in value.items() if each not in ([], {})}
        in_events = {"toolCallId", "title", "kind"} | ({"status"} if ends else set())
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


def to_usage(tokens: schema.Usage | None) -> list[dict[str, int]] | None:
    """Return the tokens of a turn as AG-UI's `usage`."""
    if tokens is None:
        return None
    counts = {
        "inputTokens": tokens.input_tokens,
        "outputTokens": tokens.output_tokens,
        "totalTokens": tokens.total_tokens,
        "reasoningTokens": tokens.thought_tokens,
        "cachedInputTokens": tokens.cached_read_tokens,
        "cacheWriteInputTokens": tokens.cached_write_tokens,
    }
    return [{name: count for name, count in counts.items() if count is not None}]


def _args_events(call: _Call) -> Iterator[bytes]:
    if call.args_sent:
        return
    call.args_sent = True
    if call.input:
        yield encode_event("TOOL_CALL_ARGS", toolCallId=call.id, delta=msgspec.json.encode(call.input).decode())
    yield encode_event("TOOL_CALL_END", toolCallId=call.id)


def _is_text(part: dict[str, Any]) -> bool:
    return bool(part["type"] == "content" and part["content"]["type"] == "text")


def _to_json(update: Any) -> dict[str, Any]:
    """Return an update as the agent wrote it, without its kind."""
    value: dict[str, Any] = update.model_dump(mode="json", by_alias=True, exclude_none=True)
    value.pop("sessionUpdate", None)
    return value
