"""The members of AG-UI events as strict clients accept them: each of its type, in camelCase, none missing.

The official client validates each event against the schema of the protocol, and one that is a little off loses it the
whole run. So a member with another spelling or type is mended where its meaning is plain, an optional one that is not
is left out, and an event that lacks what it is for is `Unmendable`. Members that the protocol does not have pass.

A `Mend` takes a decoded value, UNSET for a missing one, and returns it as the protocol has it: the same object if that
is what it is already.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

Mend = Callable[[Any], Any]

NULLABLE = {"CUSTOM": "value", "RAW": "event", "STATE_SNAPSHOT": "snapshot"}
"""The one member of some types that may be null: it is any value."""

_TEXT_ROLES = ("assistant", "user", "system", "developer")
_MAX_INTEGER = 2**53 - 1
_POINTER = re.compile(r"(?:/(?:[^~]|~[01])*+)?")
_CAPITAL = re.compile(r"(?=[A-Z])")


class Unmendable(Exception):
    """The value is not of the protocol, and what it means is not plain."""


def mend_event(type_: str, values: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Return the members of an event, those that need no change byte for byte; raise `Unmendable`.

    Nothing is known about a type that the protocol does not have, which clients pass over.
    """
    required, mends = _EVENTS.get(type_, _UNKNOWN)
    return _mend_members(values, required, mends, decode=msgspec.json.decode)


def _mend_members(
    values: Mapping[str, Any],
    required: Collection[str],
    mends: Mapping[str, Mend],
    decode: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    mended = dict(values)
    for name, mend in mends.items():
        given = mended.get(name, UNSET)
        if given is UNSET and (snake := _SNAKE[name]) != name:
            given = mended.pop(snake, UNSET)
        if given is UNSET and name not in required:
            continue
        value = UNSET if given is UNSET else decode(given)
        if value is None and name not in required:
            mended.pop(name, None)
            continue
        try:
            whole = mend(value)
        except Unmendable:
            if name in required:
                raise
            mended.pop(name, None)
        else:
            mended[name] = given if whole is value else whole
    return mended


class _Snake(dict[str, str]):
    """The spelling of each name in snake_case."""

    def __missing__(self, name: str) -> str:
        self[name] = _CAPITAL.sub("_", name).lower()
        return self[name]


_SNAKE = _Snake()


def _anything(value: Any) -> Any:
    if value is UNSET:
        raise Unmendable
    return value


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if value is UNSET or value is None:
        raise Unmendable
    return msgspec.json.encode(value).decode()


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise Unmendable
    return value


def _boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Unmendable
    return value


def _count(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INTEGER:
        return value
    if isinstance(value, float) and 0 <= value <= _MAX_INTEGER:
        return round(value)
    raise Unmendable


def _pointer(value: Any) -> Any:
    if not isinstance(value, str) or not _POINTER.fullmatch(value):
        raise Unmendable
    return value


def _one_of(*names: str) -> Mend:
    """Return a mend to one of these texts: the first of them stands for any other value."""
    return lambda value: value if value in names else names[0]


def _or(mend: Mend, default: Any) -> Mend:
    def mended(value: Any) -> Any:
        try:
            return mend(value)
        except Unmendable:
            return default

    return mended


def _members(required: Mapping[str, Mend], optional: Mapping[str, Mend] | None = None) -> Mend:
    mends = {**required, **(optional or {})}

    def mend(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unmendable
        mended = _mend_members(value, required, mends)
        return value if mended == value else mended

    return mend


def _list(mend: Mend, *, least: int = 0, whole: bool = False) -> Mend:
    """Return a mend of a list, of which items that cannot be mended are left out, unless it counts as a `whole`."""

    def mended(value: Any) -> Any:
        items: list[Any] = []
        for item in value if isinstance(value, list) else [_object(value)]:
            try:
                items.append(mend(item))
            except Unmendable:
                if whole:
                    raise
        if len(items) < least:
            raise Unmendable
        return value if items == value else items

    return mended


def _by(name: str, kinds: Mapping[str, Mend], others: Mend | None = None) -> Mend:
    """Return a mend of an object whose member `name` says of which kind it is."""

    def mend(value: Any) -> Any:
        kind = _object(value).get(name)
        found = kinds.get(kind, others) if isinstance(kind, str) else None
        if found is None:
            raise Unmendable
        return found(value)

    return mend


_COMMON: dict[str, Mend] = {"rawEvent": _anything, "metadata": _object, "subagentRunId": _text}

_SOURCE = _by(
    "type",
    {
        "data": _members({"value": _text, "mimeType": _text}),
        "url": _members({"value": _text}, {"mimeType": _text}),
        "file": _members({"value": _text}, {"mimeType": _text, "provider": _text}),
    },
)
_PART = _by(
    "type",
    {
        "text": _members({"text": _text}, {"id": _text, "metadata": _anything}),
        **{
            media: _members({"source": _SOURCE}, {"id": _text, "metadata": _anything})
            for media in ("image", "audio", "video", "document")
        },
    },
)


def _content(value: Any) -> Any:
    """Mend what is a text or a list of parts; anything else is the text of its JSON."""
    if isinstance(value, list):
        try:
            return _list(_PART, whole=True)(value)
        except Unmendable:
            pass
    return _text(value)


_PATCH = _list(
    _by(
        "op",
        {
            **dict.fromkeys(("add", "replace", "test"), _members({"path": _pointer, "value": _anything})),
            **dict.fromkeys(("move", "copy"), _members({"path": _pointer, "from": _pointer})),
            "remove": _members({"path": _pointer}),
        },
    ),
    whole=True,
)
_CALL = _members(
    {
        "id": _text,
        "type": _one_of("function"),
        "function": _members({"name": _or(_text, "tool"), "arguments": _or(_text, "")}),
    },
    {"encryptedValue": _text, "metadata": _object},
)
_OF_ALL = {"name": _text, "encryptedValue": _text, "metadata": _object, "subagentRunId": _text}
_MESSAGE = _by(
    "role",
    {
        **dict.fromkeys(
            ("developer", "system", "reasoning"), _members({"id": _text, "content": _or(_text, "")}, _OF_ALL)
        ),
        "user": _members({"id": _text, "content": _or(_content, "")}, _OF_ALL),
        "assistant": _members({"id": _text}, {**_OF_ALL, "content": _text, "toolCalls": _list(_CALL)}),
        "tool": _members({"id": _text, "toolCallId": _text, "content": _or(_content, "")}, {**_OF_ALL, "error": _text}),
        "activity": _members({"id": _text, "activityType": _text, "content": _object}, _OF_ALL),
    },
    others=_members({"id": _text}),
)
_INTERRUPT = _members(
    {"id": _text, "reason": _or(_text, "input_required")},
    {
        **dict.fromkeys(("message", "toolCallId", "expiresAt", "subagentRunId"), _text),
        **dict.fromkeys(("responseSchema", "metadata"), _object),
    },
)
_OUTCOME = _by(
    "type",
    {
        "success": _members({}, {"pendingToolCallIds": _list(_text, whole=True)}),
        "interrupt": _members({"interrupts": _list(_INTERRUPT, least=1)}),
        "cancelled": _members({}),
    },
    others=_object,
)
_COUNTS = (
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "reasoningTokens",
    "cachedInputTokens",
    "cacheWriteInputTokens",
)
_USAGE = _list(_members({}, {"provider": _text, "model": _text, **dict.fromkeys(_COUNTS, _count)}))
_MESSAGE_DELTA = {"messageId": _text, "delta": _text}
_ACTIVITY = {"messageId": _text, "activityType": _text}

_MEMBERS: dict[str, tuple[Mapping[str, Mend], Mapping[str, Mend]]] = {
    "RUN_STARTED": (
        {},
        {"protocolVersion": _text, "parentRunId": _text, "input": _members({"messages": _list(_MESSAGE)})},
    ),
    "RUN_FINISHED": ({}, {"outcome": _OUTCOME, "usage": _USAGE}),
    "RUN_ERROR": ({}, {"code": _text, "usage": _USAGE}),
    "STEP_STARTED": ({"stepName": _text}, {}),
    "STEP_FINISHED": ({"stepName": _text}, {}),
    **dict.fromkeys(
        (
            *("TEXT_MESSAGE_END", "REASONING_START", "REASONING_END"),
            *("REASONING_MESSAGE_START", "REASONING_MESSAGE_END"),
        ),
        ({"messageId": _text}, {}),
    ),
    "TEXT_MESSAGE_START": ({"messageId": _text}, {"role": _one_of(*_TEXT_ROLES), "name": _text}),
    "TEXT_MESSAGE_CONTENT": (_MESSAGE_DELTA, {}),
    "TEXT_MESSAGE_CHUNK": ({}, {**_MESSAGE_DELTA, "role": _one_of(*_TEXT_ROLES), "name": _text}),
    "REASONING_MESSAGE_CONTENT": (_MESSAGE_DELTA, {}),
    "REASONING_MESSAGE_CHUNK": ({}, _MESSAGE_DELTA),
    "REASONING_ENCRYPTED_VALUE": (
        {"subtype": _one_of("message", "tool-call"), "entityId": _text, "encryptedValue": _text},
        {},
    ),
    "TOOL_CALL_START": ({"toolCallId": _text, "toolCallName": _or(_text, "tool")}, {"parentMessageId": _text}),
    "TOOL_CALL_ARGS": ({"toolCallId": _text, "delta": _text}, {}),
    "TOOL_CALL_END": ({"toolCallId": _text}, {}),
    "TOOL_CALL_CHUNK": ({}, dict.fromkeys(("toolCallId", "toolCallName", "parentMessageId", "delta"), _text)),
    "TOOL_CALL_RESULT": (
        {"messageId": _text, "toolCallId": _text, "content": _or(_content, "")},
        {"role": _one_of("tool")},
    ),
    "STATE_SNAPSHOT": ({"snapshot": _anything}, {}),
    "STATE_DELTA": ({"delta": _PATCH}, {}),
    "MESSAGES_SNAPSHOT": ({"messages": _list(_MESSAGE)}, {}),
    "ACTIVITY_SNAPSHOT": ({**_ACTIVITY, "content": _object}, {"replace": _boolean}),
    "ACTIVITY_DELTA": ({**_ACTIVITY, "patch": _PATCH}, {}),
    "SUBAGENT_STARTED": (
        {"subagentRunId": _text, "name": _or(_text, "subagent")},
        dict.fromkeys(("description", "parentSubagentRunId", "parentToolCallId", "parentMessageId"), _text),
    ),
    "SUBAGENT_ERROR": ({"subagentRunId": _text, "message": _or(_text, "The subagent failed.")}, {"code": _text}),
    "RAW": ({"event": _anything}, {"source": _text}),
    "CUSTOM": ({"name": _text, "value": _or(_anything, None)}, {}),
}
_EVENTS = {
    type_: (frozenset(required), {**required, **_COMMON, **optional})
    for type_, (required, optional) in _MEMBERS.items()
}
_UNKNOWN: tuple[frozenset[str], dict[str, Mend]] = (frozenset(), _COMMON)
