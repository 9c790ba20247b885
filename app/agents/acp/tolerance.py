"""Values outside of the protocol, which real agents send nevertheless.

The SDK's models refuse a whole message for one of them. Here they become values that the models accept.
"""

import re
from typing import Any, get_args

from acp import schema

STOP_REASON = "stopReason"
"""The name under which `_meta` of a response holds a stop reason that the protocol does not have."""

MODELS = "models"
"""The name under which `_meta` of a new or resumed session holds the models, which the SDK's models do not have."""

_STOP_REASONS = frozenset(get_args(schema.StopReason))
_OPTION_KINDS = frozenset(get_args(schema.PermissionOptionKind))
_CANCELLED = frozenset({"canceled", "interrupted"})
_ALLOWS = re.compile(r"allow|approve|accept|permit|grant|yes|proceed|run", re.IGNORECASE)
_REJECTS = re.compile(r"reject|den[yi]|disallow|refuse|cancel|abort|stop|never|\bno\b|not", re.IGNORECASE)
_ALWAYS = re.compile(r"always|session|forever|remember|all", re.IGNORECASE)


def read_prompt_result(result: Any) -> dict[str, Any]:
    """Return the result of a prompt with a stop reason of the protocol; another one is in its `_meta`."""
    given = result if isinstance(result, dict) else {}
    reason = given.get("stopReason")
    if not isinstance(reason, str) or not reason:
        reason = "unknown"
    if reason in _STOP_REASONS:
        return given
    if reason.lower() in _CANCELLED:
        return {**given, "stopReason": "cancelled"}
    meta = given.get("_meta")
    return {
        **given,
        "stopReason": "end_turn",
        "_meta": {**(meta if isinstance(meta, dict) else {}), STOP_REASON: reason},
    }


def read_session_result(result: Any) -> Any:
    """Return the result of a request for a session with its `models` in its `_meta` too."""
    if not isinstance(result, dict) or MODELS not in result:
        return result
    meta = result.get("_meta")
    return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), MODELS: result[MODELS]}}


def read_permission_params(params: Any) -> Any:
    """Return the parameters of session/request_permission, each option with a kind of the protocol."""
    options = params.get("options") if isinstance(params, dict) else None
    if not isinstance(options, list):
        return params
    return {**params, "options": [_read_option(option) for option in options]}


def _read_option(option: Any) -> Any:
    if not isinstance(option, dict) or str(option.get("kind")) in _OPTION_KINDS:
        return option
    words = " ".join(str(option.get(name) or "") for name in ("kind", "name", "optionId"))
    return {**option, "kind": _guess_kind(words), "name": str(option.get("name") or option.get("optionId") or "")}


def _guess_kind(words: str) -> str:
    """Return the kind that an option's words say; one that says nothing does not allow anything."""
    allows = bool(_ALLOWS.search(words)) and not _REJECTS.search(words)
    return f"{'allow' if allows else 'reject'}_{'always' if _ALWAYS.search(words) else 'once'}"


_STATUS_WORDS = {
    "pending": ("queued", "waiting", "created", "scheduled"),
    "in_progress": ("running", "started", "executing", "active", "inprogress", "in-progress"),
    "completed": ("complete", "done", "success", "succeeded", "successful", "finished", "ok"),
    "failed": (
        *("fail", "failure", "error", "errored", "cancelled", "canceled", "aborted", "interrupted", "rejected"),
        *("denied", "declined", "refused", "skipped", "timeout", "timed_out"),
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in (status, *words)}
_CHUNKS = frozenset({"user_message_chunk", "agent_message_chunk", "agent_thought_chunk"})
_CALLS = frozenset({"tool_call", "tool_call_update"})


def read_updates(update: Any) -> list[dict[str, Any]]:
    """Return what an update says as updates of the protocol, as far as that can be told; empty if it is no object."""
    if not isinstance(update, dict):
        return []
    kind = update.get("sessionUpdate")
    if kind in _CHUNKS:
        content = update.get("content")
        parts = content if isinstance(content, list) else [content]
        return [{**update, "content": _read_block(part)} for part in parts]
    return [_read_call(update)] if kind in _CALLS else [update]


def _read_block(block: Any) -> Any:
    return {"type": "text", "text": block} if isinstance(block, str) else block


def _read_call(update: dict[str, Any]) -> dict[str, Any]:
    mended = {name: value for name, value in update.items() if value is not None}
    call_id = mended.get("toolCallId")
    if isinstance(call_id, int | float):
        mended["toolCallId"] = str(call_id)
    if mended["sessionUpdate"] == "tool_call" and not isinstance(mended.get("title"), str):
        mended["title"] = ""
    if isinstance(status := mended.get("status"), str):
        mended["status"] = _STATUSES.get(status.lower(), status)
    if (content := mended.get("content")) is not None:
        mended["content"] = [_read_output(part) for part in (content if isinstance(content, list) else [content])]
    return mended


def _read_output(part: Any) -> Any:
    block = _read_block(part)
    is_block = isinstance(block, dict) and block.get("type") in {"text", "image", "audio", "resource", "resource_link"}
    return {"type": "content", "content": block} if is_block else part
