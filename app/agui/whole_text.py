"""JSON as JavaScript and Python write it, and texts that were cut within a character.

JavaScript's strings are sequences of 16-bit units, and one emoji is two of them. Agents that cut a text after so many
units write half of it (`"\\ud83c"`), which is valid JSON and no text; Python writes NaN and Infinity. msgspec refuses
them all. Here they are read: two halves that meet are the character again, one that stays alone is U+FFFD, and a number
that JSON cannot express is null.
"""

import json
import math
from typing import Any

import msgspec

from app.agui.lenient import UNREADABLE, Json

_REPLACEMENT = "\ufffd"
_MAX_DIGITS = 400  # of an integer; a longer one would be refused by Python
_MAX_HELD = 100
_TERMINAL = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_IDS = ("messageId", "message_id", "toolCallId", "tool_call_id")
_ONLY_DELTA = ("_CONTENT", "_ARGS")  # endings of the types whose events have nothing to say but their delta


def decode_leniently(raw: Json) -> Any:
    """Return a JSON value, whose texts may have halves of characters; raises one of UNREADABLE if it is not JSON."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        text = bytes(raw).decode(errors="replace")
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_bounded)


def make_whole(value: Any) -> Any:
    """Return a value without halves of characters in its texts, the same one if there are none."""
    try:
        msgspec.json.encode(value)
    except UNREADABLE:
        return msgspec.json.decode(encode_whole(value))
    return value


def encode_whole(value: Any) -> bytes:
    """Return a value as JSON that every reader accepts: no halves of characters."""
    return whole_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()


def whole_text(text: str) -> str:
    """Return a text with the halves of characters joined; one that stays alone is U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _bounded(number: str) -> int | None:
    return int(number) if len(number) <= _MAX_DIGITS else None


class HalfJoiner:
    """The events of one run with whole texts: half a character at the end of a delta waits for the next delta."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}

    def add(self, raw: bytes) -> list[bytes]:
        """Return an event as every reader accepts it, byte for byte if nothing has to change.

        Deltas that the event completes come before it. There is no event if the delta is only half a character. Raises
        one of UNREADABLE if `raw` is not a JSON object.
        """
        try:
            event, changed = msgspec.json.decode(raw), False
        except UNREADABLE:
            event, changed = decode_leniently(raw), True
        if not isinstance(event, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - as for what is not JSON
        if not changed and not self._held:
            return [raw]
        type_, key = str(event.get("type")), _key(event)
        before = self.finish() if type_ in _TERMINAL else []
        delta = event.get("delta")
        if key in self._held:
            half, held = self._held.pop(key)
            if isinstance(delta, str):
                delta, changed = half + delta, True
            else:
                before.append(_complete(held))
        if isinstance(delta, str) and changed:
            delta = event["delta"] = self._hold_half(key, event, _whole_inside(delta))
            if not delta and type_.endswith(_ONLY_DELTA):
                return before
        return [*before, encode_whole(event) if changed else raw]

    def finish(self) -> list[bytes]:
        """Return what is held: nothing more comes."""
        events = [_complete(held) for _, held in self._held.values()]
        self._held.clear()
        return events

    def _hold_half(self, key: tuple[str, str], event: dict[str, Any], delta: str) -> str:
        """Return a delta without the first half of a character at its end, which is held."""
        if not "\ud800" <= delta[-1:] <= "\udbff" or len(self._held) >= _MAX_HELD:
            return delta
        ids = {name: event[name] for name in ("type", *_IDS) if name in event}
        self._held[key] = delta[-1], ids
        return delta[:-1]


def _whole_inside(text: str) -> str:
    """Return a text with its halves joined, and half a character at its end as it is."""
    last = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    return whole_text(text.removesuffix(last)) + last


def _complete(held: dict[str, Any]) -> bytes:
    return msgspec.json.encode(held | {"delta": _REPLACEMENT})


def _key(event: dict[str, Any]) -> tuple[str, str]:
    """Return the same key for the events of one message or tool call."""
    part = str(event.get("type")).rpartition("_")[0]
    return part, next((str(event[name]) for name in _IDS if event.get(name)), "")
