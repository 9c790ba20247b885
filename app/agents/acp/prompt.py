"""The text of a prompt: what an agent does not know yet of a turn's conversation."""

from typing import Any

from app.agents.port import Turn
from app.agui.messages import text_parts

MAX_HISTORY = 200_000  # characters; fits into the context of current models, with room for the agent's own prompt


def build_prompt(turn: Turn, last_message_id: str | None) -> str:
    """Return the messages that an agent has not got, if the last one that it got is `last_message_id`.

    An agent that knows nothing of the thread (None) gets the conversation so far as text, of a long one the last
    MAX_HISTORY characters. Its own messages are never sent back to an agent that knows the thread.
    """
    messages: list[dict[str, Any]] = turn.input["messages"]
    count = max(turn.new_messages, 1)
    earlier, new = messages[:-count], messages[-count:]
    if last_message_id is None:
        history = "\n".join(f"{message['role']}: {text}" for message in earlier if (text := _text(message)))
        if len(history) > MAX_HISTORY:
            history = f"(Earlier messages are left out.)\n…{history[-MAX_HISTORY:]}"
        text = "\n\n".join(map(_text, new))
        return f"Our conversation so far:\n\n{history}\n\nThis is new:\n\n{text}" if history else text
    ids = [message["id"] for message in earlier]
    unsent = earlier[ids.index(last_message_id) + 1 :] if last_message_id in ids else []
    foreign = [message for message in unsent if message["role"] not in {"assistant", "tool"}]
    return "\n\n".join(map(_text, [*foreign, *new]))


def _text(message: dict[str, Any]) -> str:
    return "\n".join(text_parts(message))
