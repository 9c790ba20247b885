"""JSON-RPC messages as agents write them: read leniently, and whatever has an id is answered.

A request that cannot be read would leave the agent waiting for ever, and a response would leave us.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from app.agui.lenient import UNREADABLE
from app.agui.whole_text import decode_leniently

Message = dict[str, Any]

_OUTLINE_BYTES = 1 << 16  # of a line that is not JSON in which its id is looked for
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\]]|[^"{}\[\]]+', re.DOTALL)  # a text without an end is one token too
_NUMBER = re.compile(rb"\s*:\s*(-?\d{1,15})\s*[,}]?")
_SCATTERED_BYTES = 1 << 20  # of a line in which messages are looked for
_BEGINNING = re.compile(r'\{\s{0,10}"(?:jsonrpc|id|method|params|result|error)"')
_decode_beginning = json.JSONDecoder(parse_constant=lambda _: None).raw_decode
_INVALID_RESPONSE = {"code": -32603, "message": "The response cannot be read"}


class InvalidRequest(Exception):
    """A request that cannot be read, with its id."""

    def __init__(self, request_id: int | str) -> None:
        super().__init__("not a JSON-RPC request")
        self.request_id = request_id


def values(line: bytes) -> list[Any]:
    """Return the JSON values of a line, whose texts may have halves of characters; empty if there is none.

    That is one as a rule. Agents also write several, an array of messages, or a message behind something else, such as
    what a shell writes when it starts. Of a message that cannot be read, the value is an outline.
    """
    try:
        value = decode_leniently(line)
    except UNREADABLE:
        return _scattered_values(line) or [found for found in [_outline(line)] if found]
    return value if isinstance(value, list) else [value]


def _scattered_values(line: bytes) -> list[Any]:
    """Return the messages in a line that is not JSON as a whole."""
    text = line[:_SCATTERED_BYTES].decode(errors="replace")
    found: list[Any] = []
    start = next((match.start() for match in _BEGINNING.finditer(text)), -1)
    while start >= 0:
        try:
            value, end = _decode_beginning(text, start)
        except (ValueError, RecursionError):
            break
        found.append(value)
        start = text.find("{", end)
    return found


def read_message(message: Any) -> Message | None:
    """Return a value as a message; None if it is none.

    A response that cannot be read is returned as an error. Raises `InvalidRequest`.
    """
    if not isinstance(message, dict):
        return None
    given = message.get("id")
    id_ = given if isinstance(given, int | str) and not isinstance(given, bool) else None
    if "method" in message:
        if isinstance(message["method"], str) and (id_ is not None or "id" not in message):
            return message
        if id_ is not None:
            raise InvalidRequest(id_)
        return None
    if id_ is not None and not isinstance(message.get("error"), dict | None):
        return {"id": id_, "error": _INVALID_RESPONSE | {"data": message["error"]}}
    is_response = id_ is not None and ("result" in message or "error" in message)
    return message if is_response or isinstance(message.get("error"), dict) else None


def _outline(line: bytes) -> Message | None:
    """Return the id of a line that looks like an object but cannot be read, and whether it names a method."""
    if not line.lstrip().startswith(b"{"):
        return None
    found: Message = {}
    for name, value in _top_level_members(line[:_OUTLINE_BYTES]):
        if name == b'"id"' and (id_ := _id(value)) is not None:
            found["id"] = id_
        elif name == b'"method"':
            found["method"] = None
    return found if "method" in found else {**found, "error": "unreadable"} if found else None


def _top_level_members(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each text at the top level of an object, which may be a name, with what follows it there."""
    depth = 0
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    for index, token in enumerate(tokens):
        if token in {b"{", b"["}:
            depth += 1
        elif token in {b"}", b"]"}:
            depth -= 1
        elif depth == 1 and token.startswith(b'"'):
            yield token, b"".join(tokens[index + 1 : index + 3])


def _id(value: bytes) -> int | str | None:
    if number := _NUMBER.match(value):
        return int(number[1])
    text = value.lstrip().removeprefix(b":").lstrip()
    if not text.startswith(b'"'):
        return None
    try:
        return msgspec.json.decode(text.rpartition(b'"')[0] + b'"', type=str)
    except UNREADABLE:
        return None
