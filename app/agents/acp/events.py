"""ACP session updates as AG-UI events."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
from acp import schema

from app.agents.events import event

_ENDED = {"completed", "failed"}


class Translator:
    """The state of one turn: which message is open, which tool calls have their arguments and their result."""

    def __init__(self) -> None:
        self._plan = f"plan-{uuid4().hex}"
        self._kind: str | None = None
        self._message = ""
        self._open_calls: set[str] = set()
        self._known_calls: set[str] = set()

    def events(self, update: Any) -> Iterator[bytes]:
        """What an update says; what AG-UI has no event for becomes CUSTOM `acp.<kind of update>`."""
        match update:
            case schema.AgentMessageChunk(content=schema.TextContentBlock(text=text)):
                yield from self._say("TEXT_MESSAGE", text)
            case schema.AgentThoughtChunk(content=schema.TextContentBlock(text=text)):
                yield from self._say("REASONING_MESSAGE", text)
            case schema.UserMessageChunk():
                pass  # our own prompt
            case schema.ToolCallStart() | schema.ToolCallProgress():
                yield from self._call(update)
            case schema.AgentPlanUpdate():
                content = _plain(update)
                content.pop("sessionUpdate", None)
                yield event(
                    "ACTIVITY_SNAPSHOT", messageId=self._plan, activityType="PLAN", content=content, replace=True
                )
            case _:
                value = _plain(update)
                yield event("CUSTOM", name=f"acp.{value.pop('sessionUpdate', 'update')}", value=value)

    def close(self) -> Iterator[bytes]:
        """End the message that is open."""
        if self._kind:
            yield event(f"{self._kind}_END", messageId=self._message)
            if self._kind == "REASONING_MESSAGE":
                yield event("REASONING_END", messageId=self._message)
        self._kind = None

    def _say(self, kind: str, text: str) -> Iterator[bytes]:
        if kind != self._kind:
            yield from self.close()
            self._kind, self._message = kind, f"message-{uuid4().hex}"
            thinks = kind == "REASONING_MESSAGE"
            if thinks:
                yield event("REASONING_START", messageId=self._message)
            yield event(f"{kind}_START", messageId=self._message, role="reasoning" if thinks else "assistant")
        if text:
            yield event(f"{kind}_CONTENT", messageId=self._message, delta=text)

    def _call(self, update: schema.ToolCallStart | schema.ToolCallProgress) -> Iterator[bytes]:
        call = update.tool_call_id
        if call not in self._known_calls:
            yield from self.close()
            self._known_calls.add(call)
            self._open_calls.add(call)
            yield event("TOOL_CALL_START", toolCallId=call, toolCallName=update.title or update.kind or "tool")
        ended = update.status in _ENDED
        if call in self._open_calls and (update.raw_input or ended):
            self._open_calls.discard(call)
            if update.raw_input:
                delta = msgspec.json.encode(update.raw_input).decode()
                yield event("TOOL_CALL_ARGS", toolCallId=call, delta=delta)
            yield event("TOOL_CALL_END", toolCallId=call)
        value = _plain(update)
        if ended:
            failed = True if update.status == "failed" else None
            result = {"messageId": f"{call}-result", "toolCallId": call, "role": "tool", "isError": failed}
            yield event("TOOL_CALL_RESULT", **result, content=_result(update))
        if value.get("locations") or value.get("content") or not ended:
            value.pop("sessionUpdate", None)
            yield event("CUSTOM", name="acp.tool_call", value=value)


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


def _result(update: schema.ToolCallStart | schema.ToolCallProgress) -> str:
    """The texts of a tool's answer; without any, its raw output."""
    blocks = [part.content for part in update.content or [] if isinstance(part, schema.ContentToolCallContent)]
    texts = [block.text for block in blocks if isinstance(block, schema.TextContentBlock)]
    if texts or update.raw_output is None:
        return "\n".join(texts)
    return update.raw_output if isinstance(update.raw_output, str) else msgspec.json.encode(update.raw_output).decode()


def _plain(update: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = update.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped
