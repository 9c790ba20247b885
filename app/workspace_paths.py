"""The rules of paths in a workspace: what a client may name, and how names of any bytes are shown."""

import base64

from app.errors import WorkspaceFileNotFound

MAX_BYTES = 4096
MAX_PARTS = 128


def parse_path(path: str | None, path_base64: str | None = None) -> bytes:
    """Return the path that a client names, in UTF-8 or by its bytes in base64; empty for the workspace itself.

    Raises `WorkspaceFileNotFound` unless it is relative and without `..`.
    """
    raw = (path or "").encode() if path_base64 is None else _decode(path_base64)
    found = parts(raw)
    is_outside = raw.startswith(b"/") or b".." in found or b"\0" in raw
    if is_outside or len(raw) > MAX_BYTES or len(found) > MAX_PARTS:
        raise WorkspaceFileNotFound
    return b"/".join(found)


def public_path(path: bytes) -> tuple[str, str | None]:
    """Return a path as text, and in URL-safe base64 if it is no UTF-8, in which case the text only resembles it."""
    try:
        return path.decode(), None
    except UnicodeDecodeError:
        return path.decode("utf-8", "replace"), base64.urlsafe_b64encode(path).decode()


def parts(path: bytes) -> list[bytes]:
    """Return the names in a path; empty ones and `.` are none."""
    return [part for part in path.split(b"/") if part not in {b"", b"."}]


def _decode(text: str) -> bytes:
    """Return the bytes of URL-safe base64, with padding or without."""
    text = text.rstrip("=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
