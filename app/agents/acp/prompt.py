"""The prompt of a turn: what an agent does not know yet of the turn's conversation, as content blocks."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

from acp import audio_block, image_block, resource_link_block, schema, text_block

from app.agents.port import Turn
from app.agui.content_parts import Media, read_media
from app.agui.messages import text_parts

MAX_HISTORY = 200_000  # characters; fits into the context of current models, with room for the agent's own prompt
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The images that models read; an agent may do something with a file of another type."""

Block = (
    schema.TextContentBlock
    | schema.ImageContentBlock
    | schema.AudioContentBlock
    | schema.ResourceContentBlock
    | schema.EmbeddedResourceContentBlock
)


class Prompt(NamedTuple):
    """The text of a prompt and the files beside it."""

    text: str
    files: list[Media]


def build_prompt(turn: Turn, last_message_id: str | None) -> Prompt:
    """Return the messages that an agent has not got, if the last one that it got is `last_message_id`.

    An agent that knows nothing of the thread (None) gets the conversation so far as text, of a long one the last
    MAX_HISTORY characters. Its own messages are never sent back to an agent that knows the thread.
    """
    messages: list[dict[str, Any]] = turn.input["messages"]
    count = max(turn.new_messages, 1)
    earlier, new = messages[:-count], messages[-count:]
    if last_message_id is None:
        history = "\n".join(f"{message['role']}: {text}" for message in earlier if (text := _text_with_names(message)))
        if len(history) > MAX_HISTORY:
            history = f"(Earlier messages are left out.)\n…{history[-MAX_HISTORY:]}"
        text = "\n\n".join(map(_text, new))
        whole = f"Our conversation so far:\n\n{history}\n\nThis is new:\n\n{text}" if history else text
        return Prompt(whole, _files(new))
    ids = [message["id"] for message in earlier]
    unsent = earlier[ids.index(last_message_id) + 1 :] if last_message_id in ids else []
    sent = [*(message for message in unsent if message["role"] not in {"assistant", "tool"}), *new]
    return Prompt("\n\n".join(map(_text, sent)), _files(sent))


async def prompt_blocks(prompt: Prompt, turn: Turn, capabilities: schema.PromptCapabilities | None) -> list[Block]:
    """Return a prompt's text, and its files: images and sound as such if the agent takes them, others as links.

    Files of the workspace are links to where the agent sees them.
    """
    can = capabilities or schema.PromptCapabilities()
    room = turn.max_attachments
    blocks: list[Block] = [text_block(prompt.text)]
    for file in prompt.files:
        kind = (file.media_type or "").lower()
        as_image, as_audio = can.image and kind in _IMAGES, can.audio and kind.startswith("audio/")
        uri = (turn.workspace.absolute() / file.path).as_uri() if file.path else file.url
        content = await turn.read_file(file.path) if file.path and (as_image or as_audio) else None
        if content is not None and len(content) <= room:
            room -= len(content)
            data = base64.b64encode(content).decode()
            blocks.append(image_block(data, kind, uri=uri) if as_image else audio_block(data, kind))
        elif uri:
            name = file.name or Path(file.path or uri).name or file.kind
            blocks.append(resource_link_block(name, uri, mime_type=file.media_type))
    return blocks


def _files(messages: list[dict[str, Any]]) -> list[Media]:
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    return [media for part in parts if (media := read_media(part))]


def _text(message: dict[str, Any]) -> str:
    return "\n".join(text_parts(message))


def _text_with_names(message: dict[str, Any]) -> str:
    """Return the text of a message and the names of its files."""
    files = [f"(attached: {file.path or file.url or file.label})" for file in _files([message])]
    return "\n".join([*text_parts(message), *files])
