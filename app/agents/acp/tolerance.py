"""Values outside of the protocol's enumerations, in messages that have to be answered or waited for.

The SDK's models refuse a whole message for one of them. Here they become values that the models accept.
"""

import re
from typing import Any, get_args

from acp import schema

STOP_REASON = "stopReason"
"""The name under which `_meta` of a response holds a stop reason that the protocol does not have."""

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
