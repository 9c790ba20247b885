"""The answer of a run: the text of its last assistant message."""

from collections.abc import Sequence

from app.agui.compaction import group_deltas
from app.agui.events import Event
from app.agui.json_strings import escape, join_strings, unescape
from app.agui.messages import content_text, reversed_messages

MAX_BYTES = 1 << 16
"""The most of an answer that is kept, in UTF-8."""

_MAX_ESCAPED = 6 * MAX_BYTES  # a byte may be escaped as six: `\\u003c`
_DELTAS = frozenset({"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"})
_TYPES = _DELTAS | {"TEXT_MESSAGE_START", "MESSAGES_SNAPSHOT"}


class AnswerReader:
    """Reader of the answer in the events of one run, in order. A message without text does not count."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []  # escaped
        self._size = 0
        self._message: str | None = None
        self._begins = True
        self._is_assistant = True

    @property
    def answer(self) -> str | None:
        """Return the answer so far, at most MAX_BYTES of it, or None if there is none."""
        return truncate(unescape(b"".join(self._texts))) or None

    def feed(self, events: Sequence[Event]) -> None:
        """Read the next events. Messages that others follow in the same call are skipped."""
        texts = [event for event in events if event.type in _TYPES]
        for event, _, text in group_deltas(texts[_last_message(texts) :]):
            if event.type == "MESSAGES_SNAPSHOT":
                self._read_snapshot(event)
            else:
                self._read_text(event, join_strings([event.delta]) if text is None else text)

    def _read_text(self, event: Event, text: bytes | None) -> None:
        message = event.message_id or self._message
        if event.type == "TEXT_MESSAGE_START" or message != self._message:
            self._begins, self._message = True, message
            self._is_assistant = _is_assistant(event)
        if not text or not self._is_assistant:
            return
        if self._begins:
            self._texts, self._size, self._begins = [], 0, False
        if self._size < _MAX_ESCAPED:
            self._texts.append(text)
            self._size += len(text)

    def _read_snapshot(self, event: Event) -> None:
        for message in reversed_messages(event.raw):
            if message.role == "user":
                return
            if message.role == "assistant" and (text := content_text(message.content)):
                self._texts, self._begins = [escape(text)], True
                return


def truncate(text: str) -> str:
    """Return the beginning of a text that fits into MAX_BYTES of UTF-8."""
    return text if len(text) * 4 <= MAX_BYTES else text.encode()[:MAX_BYTES].decode(errors="ignore")


def _last_message(events: Sequence[Event]) -> int:
    """Return the index where the last of the assistant's messages that has deltas begins, 0 if it began before."""
    last_delta = next((index for index in reversed(range(len(events))) if events[index].type in _DELTAS), 0)
    starts = (index for index in reversed(range(last_delta)) if events[index].type == "TEXT_MESSAGE_START")
    return next((index for index in starts if _is_assistant(events[index])), 0)


def _is_assistant(event: Event) -> bool:
    return event.role in {None, "assistant"}
