"""AG-UI messages as agents get them."""

from typing import Any


def texts(message: dict[str, Any]) -> list[str]:
    """What a message says: its content is a string or a list of parts, of which some are text."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [str(part["text"]) for part in parts if isinstance(part, dict) and part.get("type") == "text"]
