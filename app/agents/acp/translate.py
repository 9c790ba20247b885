"""ACP session updates as AG-UI events."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import msgspec
from acp import schema

from app.agui.events import encode_event


class Translator:
    """The state of one turn; `cost` is what the agent's whole session has cost in dollars, as it last said.

    What AG-UI has no event for becomes CUSTOM `acp.<kind of update>`. `printed` tells what a terminal has printed.
    """

    def __init__(self, printed: Callable[[str], str | None]) -> None:
        self.cost: float | None = None
        self._calls = ToolCalls(printed)
        self._plan = f"plan-{uuid4().hex}"
        self._kind: str | None = None
        self._message = ""
        self._named: str | None = None

    def events(self, update: Any) -> Iterator[bytes]:
        """What an update says."""
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
                content = plain(update)
                yield encode_event(
                    "ACTIVITY_SNAPSHOT", messageId=self._plan, activityType="PLAN", content=content, replace=True
                )
            case _:
                if isinstance(update, schema.UsageUpdate) and update.cost and update.cost.currency == "USD":
                    self.cost = update.cost.amount
                yield encode_event("CUSTOM", name=f"acp.{update.session_update}", value=plain(update))

    def close(self) -> Iterator[bytes]:
        """End what is open."""
        yield from self._close_message()
        yield from self._calls.close()

    def _close_message(self) -> Iterator[bytes]:
        if self._kind:
            yield encode_event(f"{self._kind}_END", messageId=self._message)
            if self._kind == "REASONING_MESSAGE":
                yield encode_event("REASONING_END", messageId=self._message)
        self._kind = None

    def _append_text(self, kind: str, text: str, name: str | None) -> Iterator[bytes]:
        """Go on with the message, or begin another: agents may name theirs, but go on with one after a tool call."""
        if (kind, name) != (self._kind, self._named):
            yield from self._close_message()
            self._kind, self._named, self._message = kind, name, f"message-{uuid4().hex}"
            thinks = kind == "REASONING_MESSAGE"
            if thinks:
                yield encode_event("REASONING_START", messageId=self._message)
            yield encode_event(f"{kind}_START", messageId=self._message, role="reasoning" if thinks else "assistant")
        if text:
            yield encode_event(f"{kind}_CONTENT", messageId=self._message, delta=text)


def usage(used: schema.Usage | None) -> list[dict[str, int]] | None:
    """The tokens of a turn in AG-UI's words."""
    if used is None:
        return None
    counted = {
        "inputTokens": used.input_tokens,
        "outputTokens": used.output_tokens,
        "totalTokens": used.total_tokens,
        "reasoningTokens": used.thought_tokens,
        "cachedInputTokens": used.cached_read_tokens,
        "cacheWriteInputTokens": used.cached_write_tokens,
    }
    return [{name: count for name, count in counted.items() if count is not None}]


_ENDED_STATUSES = {"completed", "failed"}

Update = schema.ToolCallStart | schema.ToolCallProgress


class _Call:
    """What was said of one call."""

    def __init__(self) -> None:
        self.input: Any = None
        self.begun = False
        self.ended = False
        self.last: dict[str, Any] = {}


class ToolCalls:
    """The calls of one turn; `printed` tells what a terminal has printed."""

    def __init__(self, printed: Callable[[str], str | None]) -> None:
        self._printed = printed
        self._calls: dict[str, _Call] = {}

    def is_new(self, update: Update) -> bool:
        """Whether the update is the first of its call."""
        return update.tool_call_id not in self._calls

    def events(self, update: Update) -> Iterator[bytes]:
        """What an update says of its call."""
        id_ = update.tool_call_id
        if self.is_new(update):
            self._calls[id_] = _Call()
            yield encode_event("TOOL_CALL_START", toolCallId=id_, toolCallName=update.title or update.kind or "tool")
        call = self._calls[id_]
        if not call.begun and update.raw_input:
            call.input = update.raw_input
        ends = update.status in _ENDED_STATUSES and not call.ended
        # While a call is pending its arguments may still grow.
        if ends or (update.status == "in_progress" and call.input):
            yield from _start_event(id_, call)
        yield from self._rest(update, call, ends=ends)
        if ends:
            call.ended = True
            failed = True if update.status == "failed" else None
            result = {"messageId": f"result-{uuid4().hex}", "toolCallId": id_, "role": "tool", "isError": failed}
            yield encode_event("TOOL_CALL_RESULT", **result, content=self._result(update))

    def close(self) -> Iterator[bytes]:
        """Say the arguments of calls whose beginning was never seen."""
        for id_, call in self._calls.items():
            yield from _start_event(id_, call)

    def _rest(self, update: Update, call: _Call, *, ends: bool) -> Iterator[bytes]:
        """What AG-UI's events do not say, unless it was said before."""
        value = plain(update)
        if call.begun and update.raw_input == call.input:
            value.pop("rawInput", None)
        if ends:
            said = self._texts(update)
            value["content"] = [part for part in value.get("content", []) if not _is_text(part)]
            if not said:
                value.pop("rawOutput", None)
        tells = {name: each for name, each in value.items() if each not in ([], {})}
        news = tells.keys() - {"toolCallId", "title", "kind"} - ({"status"} if ends else set())
        if news and tells != call.last:
            call.last = tells
            yield encode_event("CUSTOM", name="acp.tool_call", value=tells)

    def _result(self, update: Update) -> str:
        """The texts of a tool's answer; without any, its raw output."""
        if (texts := self._texts(update)) or update.raw_output is None:
            return "\n".join(texts)
        output = update.raw_output
        return output if isinstance(output, str) else msgspec.json.encode(output).decode()

    def _texts(self, update: Update) -> list[str]:
        texts: list[str | None] = []
        for part in update.content or []:
            match part:
                case schema.ContentToolCallContent(content=schema.TextContentBlock(text=text)):
                    texts.append(text)
                case schema.TerminalToolCallContent(terminal_id=name):
                    texts.append(self._printed(name))
        return [text for text in texts if text]


def _start_event(id_: str, call: _Call) -> Iterator[bytes]:
    if call.begun:
        return
    call.begun = True
    if call.input:
        yield encode_event("TOOL_CALL_ARGS", toolCallId=id_, delta=msgspec.json.encode(call.input).decode())
    yield encode_event("TOOL_CALL_END", toolCallId=id_)


def _is_text(part: dict[str, Any]) -> bool:
    return bool(part["type"] == "content" and part["content"]["type"] == "text")


def plain(update: Any) -> dict[str, Any]:
    """An update as the agent wrote it, without its kind."""
    dumped: dict[str, Any] = update.model_dump(mode="json", by_alias=True, exclude_none=True)
    dumped.pop("sessionUpdate", None)
    return dumped
