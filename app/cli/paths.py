"""Paths in a workspace, whose names may have any bytes: as arguments, in requests, and as text to read."""

import base64
import os
import re
from typing import Any

_UNSAFE = re.compile('[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


def as_query(argument: str) -> dict[str, str]:
    """Return the parameters that name a path of the command line, none for the workspace itself."""
    name = os.fsencode(argument).removesuffix(b"/")
    if name in {b"", b"."}:
        return {}
    try:
        return {"path": name.decode()}
    except UnicodeDecodeError:
        return {"path_base64": base64.urlsafe_b64encode(name).decode()}


def shown(entry: dict[str, Any], member: str = "path") -> str:
    """Return the path of an entry as git writes it: with special characters quoted, bytes that are no UTF-8 too."""
    encoded = entry.get(f"{member}_base64")
    name = base64.urlsafe_b64decode(encoded + "==") if isinstance(encoded, str) else str(entry[member]).encode()
    text = name.decode(errors="surrogateescape")
    return f'"{_UNSAFE.sub(_escape, text)}"' if _UNSAFE.search(text) else text


def _escape(match: re.Match[str]) -> str:
    found = match[0].encode(errors="surrogateescape")
    return "".join(f"\\{_ESCAPES.get(byte) or f'{byte:03o}'}" for byte in found)
