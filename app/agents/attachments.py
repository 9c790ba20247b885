"""Files of the workspace for an agent that does not see the workspace: their content, in place of references."""

import base64
from typing import Any

from app.agents.port import Turn
from app.agui.content_parts import read_media, with_data

UNKNOWN_TYPE = "application/octet-stream"


async def with_contents(turn: Turn) -> dict[str, Any]:
    """Return the turn's input with the content of files, the latest ones first, up to the turn's bound.

    A text says of any other one that it is left out.
    """
    contents = _Contents(turn)
    messages = [await contents.fill(message) for message in reversed(turn.input["messages"])]
    return {**turn.input, "messages": messages[::-1]}


class _Contents:
    """The files that are read for one turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._room = turn.max_attachments

    async def fill(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message with the content of its files."""
        parts = message.get("content")
        if not isinstance(parts, list):
            return message
        return {**message, "content": [await self._fill(part) for part in parts]}

    async def _fill(self, part: Any) -> Any:
        media = read_media(part)
        if media is None or media.path is None:
            return part
        content = await self._turn.read_file(media.path)
        if content is None or len(content) > self._room:
            return {"type": "text", "text": f"(The attachment {media.label} is left out.)"}
        self._room -= len(content)
        return with_data(part, base64.b64encode(content).decode(), media.media_type or UNKNOWN_TYPE)
