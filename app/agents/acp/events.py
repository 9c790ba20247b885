"""ACP session updates as AG-UI events."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from acp import schema

from app.agents.acp.tool_calls import ToolCalls, plain
from app.agents.events import event


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
                yield from self._say("TEXT_MESSAGE", text, update.message_id)
            case schema.AgentThoughtChunk(content=schema.TextContentBlock(text=text)):
                yield from self._say("REASONING_MESSAGE", text, update.message_id)
            case schema.UserMessageChunk():
                pass  # our own prompt
            case schema.ToolCallStart() | schema.ToolCallProgress():
                if self._calls.is_new(update):
                    yield from self._close_message()
                yield from self._calls.events(update)
            case schema.AgentPlanUpdate():
                content = plain(update)
                yield event(
                    "ACTIVITY_SNAPSHOT", messageId=self._plan, activityType="PLAN", content=content, replace=True
                )
            case _:
                if isinstance(update, schema.UsageUpdate) and update.cost and update.cost.currency == "USD":
                    self.cost = update.cost.amount
                yield event("CUSTOM", name=f"acp.{update.session_update}", value=plain(update))

    def close(self) -> Iterator[bytes]:
        """End what is open."""
        yield from self._close_message()
        yield from self._calls.close()

    def _close_message(self) -> Iterator[bytes]:
        if self._kind:
            yield event(f"{self._kind}_END", messageId=self._message)
            if self._kind == "REASONING_MESSAGE":
                yield event("REASONING_END", messageId=self._message)
        self._kind = None

    def _say(self, kind: str, text: str, name: str | None) -> Iterator[bytes]:
        """Go on with the message, or begin another: agents may name theirs, but go on with one after a tool call."""
        if (kind, name) != (self._kind, self._named):
            yield from self._close_message()
            self._kind, self._named, self._message = kind, name, f"message-{uuid4().hex}"
            thinks = kind == "REASONING_MESSAGE"
            if thinks:
                yield event("REASONING_START", messageId=self._message)
            yield event(f"{kind}_START", messageId=self._message, role="reasoning" if thinks else "assistant")
        if text:
            yield event(f"{kind}_CONTENT", messageId=self._message, delta=text)


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
