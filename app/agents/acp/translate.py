"""ACP session updates as AG-UI events.

Chunks of text become messages, thoughts become reasoning, tool calls stay tool calls, and a plan is an activity that
each update replaces. Everything else is passed on as it is, in a CUSTOM event `acp.<kind of update>`; so are, as
`acp.tool_call`, the details of a tool call that AG-UI's events have no place for.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from acp import schema

from app.agents.acp.tool_calls import ToolCalls, to_json, without_kind
from app.agents.acp.updates import OtherUpdate
from app.agui.events import encode_event

_MAX_KIND = 100  # characters of an update's kind


class Translator:
    """The translation of one turn; `terminal_output` returns what a terminal has printed, None if it is unknown."""

    def __init__(self, terminal_output: Callable[[str], str | None]) -> None:
        self.cost: float | None = None
        """The total cost of the agent's session in dollars, as last reported."""
        self._calls = ToolCalls(terminal_output, self._close_message)
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
                yield from self._calls.events(update)
            case schema.AgentPlanUpdate():
                plan = to_json(update)
                yield encode_event(
                    "ACTIVITY_SNAPSHOT", messageId=self._plan_id, activityType="PLAN", content=plan, replace=True
                )
            case OtherUpdate(value=value):
                self._observe_other(value)
                kind = value.get("sessionUpdate")
                name = f"acp.{kind[:_MAX_KIND]}" if isinstance(kind, str) else "acp.update"
                yield encode_event("CUSTOM", name=name, value=without_kind(value))
            case _:
                if isinstance(update, schema.UsageUpdate) and update.cost and update.cost.currency == "USD":
                    self.cost = update.cost.amount
                yield encode_event("CUSTOM", name=f"acp.{update.session_update}", value=to_json(update))

    def _observe_other(self, value: dict[str, Any]) -> None:
        """Take the cost from an update that otherwise cannot be read."""
        cost = value.get("cost") if value.get("sessionUpdate") == "usage_update" else None
        if isinstance(cost, dict) and cost.get("currency") == "USD" and isinstance(cost.get("amount"), int | float):
            self.cost = float(cost["amount"])

    def id_of(self, agents_call_id: str) -> str | None:
        """Return the id in the log of the last tool call that the agent gave this id; None if there is none."""
        return self._calls.id_of(agents_call_id)

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
