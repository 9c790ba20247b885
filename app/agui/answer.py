"""The answer of a run: the text of its last assistant message."""

from collections.abc import Sequence

import msgspec

from app.agui.events import EventHeader
from app.agui.lenient import Lenient, plain
from app.agui.messages import content_text, snapshot_messages

MAX_BYTES = 1 << 16
"""The most of an answer that is kept, in UTF-8."""

_DELTAS = frozenset({"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"})
_TYPES = _DELTAS | {"TEXT_MESSAGE_START", "MESSAGES_SNAPSHOT"}


class _Text(msgspec.Struct, gc=False):
    message_id: str | None = msgspec.field(name="messageId", default=None)
    snake_message_id: str | None = msgspec.field(name="message_id", default=None)
    role: str | None = None
    delta: str | None = None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


_read = Lenient(_Text, delta=plain(_text))


class AnswerReader:
    """Reader of the answer in the events of one run, in order. A message without text does not count."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._message: str | None = None
        self._begins = True
        self._is_assistant = True

    @property
    def answer(self) -> str | None:
        """Return the answer so far, at most MAX_BYTES of it, or None if there is none."""
        return truncate("".join(self._parts)) or None

    def feed(self, events: Sequence[EventHeader]) -> None:
        """Read the next events. Messages that others follow in the same call are skipped without decoding them."""
        texts = [event for event in events if event.type in _TYPES]
        for event in texts[_last_message(texts) :]:
            if event.type == "MESSAGES_SNAPSHOT":
                self._read_snapshot(event)
            elif self._size < MAX_BYTES or event.type != "TEXT_MESSAGE_CONTENT":
                self._read_text(event)

    def _read_text(self, event: EventHeader) -> None:
        text = _read(event.raw)
        if text is None:
            return
        message = text.message_id or text.snake_message_id or self._message
        if event.type == "TEXT_MESSAGE_START" or message != self._message:
            self._begins, self._message = True, message
            self._is_assistant = text.role in {None, "assistant"}
        if not text.delta or not self._is_assistant:
            return
        if self._begins:
            self._parts, self._size, self._begins = [], 0, False
        self._parts.append(text.delta)
        self._size += len(text.delta)

    def _read_snapshot(self, event: EventHeader) -> None:
        for message in reversed(snapshot_messages(event.raw)):
            if message.role == "user":
                return
            if message.role == "assistant" and (text := content_text(message.content)):
                self._parts, self._size, self._begins = [text], len(text), True
                return


def truncate(text: str) -> str:
    """Return the beginning of a text that fits into MAX_BYTES of UTF-8."""
    return text if len(text) * 4 <= MAX_BYTES else text.encode()[:MAX_BYTES].decode(errors="ignore")


def _last_message(events: Sequence[EventHeader]) -> int:
    """Return the index where the last of the assistant's messages that has deltas begins, 0 if it began before."""
    last_delta = next((index for index in reversed(range(len(events))) if events[index].type in _DELTAS), 0)
    return next((index for index in reversed(range(last_delta)) if _begins_answer(events[index])), 0)


def _begins_answer(event: EventHeader) -> bool:
    if event.type != "TEXT_MESSAGE_START":
        return False
    text = _read(event.raw)
    return text is not None and text.role in {None, "assistant"}
