"""An agent's tool calls as AG-UI events: arguments once, result once, all else as CUSTOM `acp.tool_call`."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import msgspec
from acp import schema

from app.agents.events import event

_ENDED = {"completed", "failed"}

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
            yield event("TOOL_CALL_START", toolCallId=id_, toolCallName=update.title or update.kind or "tool")
        call = self._calls[id_]
        if not call.begun and update.raw_input:
            call.input = update.raw_input
        ends = update.status in _ENDED and not call.ended
        # While a call is pending its arguments may still grow.
        if ends or (update.status == "in_progress" and call.input):
            yield from _begin(id_, call)
        yield from self._rest(update, call, ends=ends)
        if ends:
            call.ended = True
            failed = True if update.status == "failed" else None
            result = {"messageId": f"result-{uuid4().hex}", "toolCallId": id_, "role": "tool", "isError": failed}
            yield event("TOOL_CALL_RESULT", **result, content=self._result(update))

    def close(self) -> Iterator[bytes]:
        """Say the arguments of calls whose beginning was never seen."""
        for id_, call in self._calls.items():
            yield from _begin(id_, call)

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
            yield event("CUSTOM", name="acp.tool_call", value=tells)

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


def _begin(id_: str, call: _Call) -> Iterator[bytes]:
    if call.begun:
        return
    call.begun = True
    if call.input:
        yield event("TOOL_CALL_ARGS", toolCallId=id_, delta=msgspec.json.encode(call.input).decode())
    yield event("TOOL_CALL_END", toolCallId=id_)


def _is_text(part: dict[str, Any]) -> bool:
    return bool(part["type"] == "content" and part["content"]["type"] == "text")


def plain(update: Any) -> dict[str, Any]:
    """An update as the agent wrote it, without its kind."""
    dumped: dict[str, Any] = update.model_dump(mode="json", by_alias=True, exclude_none=True)
    dumped.pop("sessionUpdate", None)
    return dumped
