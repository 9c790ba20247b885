"""What an agent knows of a thread, and what it has to be told."""

from typing import Any

import msgspec

from app.agents.port import Turn
from app.agui.messages import text_parts

MAX_HISTORY = 200_000
"""What fits into a prompt of the models of today, with room for the rest of it."""


class Conversation(msgspec.Struct, omit_defaults=True):
    """An agent's own session for a thread: the last message that it was told there, and its cost so far in dollars."""

    session_id: str
    told: str | None = None
    cost: float = 0.0

    def memory(self) -> str:
        """The text that `recall` reads."""
        return msgspec.json.encode(self).decode()


def recall(memory: str | None) -> Conversation | None:
    """The conversation of an earlier process; None if there was none, or if the text is not ours."""
    try:
        return msgspec.json.decode(memory or "", type=Conversation)
    except ValueError:
        return None


def prompt(turn: Turn, told: str | None) -> str:
    """The messages that an agent has not heard, if it knows the thread up to the message `told`.

    An agent that knows nothing of it gets the conversation so far as text, the last MAX_HISTORY characters of it. What
    it has said itself it knows.
    """
    messages: list[dict[str, Any]] = turn.input["messages"]
    count = max(turn.new_messages, 1)
    earlier, new = messages[:-count], messages[-count:]
    if told is None:
        history = "\n".join(f"{message['role']}: {text}" for message in earlier if (text := _text(message)))
        if len(history) > MAX_HISTORY:
            history = f"(What was said first is left out.)\n…{history[-MAX_HISTORY:]}"
        said = "\n\n".join(map(_text, new))
        return f"Our conversation so far:\n\n{history}\n\nThis is new:\n\n{said}" if history else said
    ids = [message["id"] for message in earlier]
    missed = earlier[ids.index(told) + 1 :] if told in ids else []
    unheard = [message for message in missed if message["role"] not in {"assistant", "tool"}]
    return "\n\n".join(map(_text, [*unheard, *new]))


def _text(message: dict[str, Any]) -> str:
    return "\n".join(text_parts(message))
