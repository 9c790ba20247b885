"""Content parts of AG-UI messages that are not text: files, such as images, in the shapes of AG-UI 1.0 and before.

    {"type": "image", "source": {"type": "data", "value": …, "mimeType": …}, "metadata": {"filename": …}}
    {"type": "binary", "mimeType": …, "data" | "url" | "id": …, "filename": …}

A file of the session's workspace is a URL of the scheme `workspace`, so that a log never holds its content.
"""

import re
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from app.models.output import MessageAttachment
from app.models.runs import Attachment

SCHEME = "workspace:"

_KINDS = frozenset({"image", "audio", "video"})
_MEDIA = _KINDS | {"document"}
_DATA_URL = re.compile(r"data:([^,;]{0,127})(?:;[^,;]{0,127}){0,4};base64,", re.IGNORECASE)


class Media(msgspec.Struct, frozen=True):
    """The file of a part: its content in base64 (`data`), a `path` in the workspace, a `url`, or else out of reach."""

    kind: str
    media_type: str | None = None
    name: str | None = None
    data: str | None = None
    path: str | None = None
    url: str | None = None

    @property
    def label(self) -> str:
        """The name of the file for people."""
        return self.name or (self.path or "").rpartition("/")[2] or self.media_type or self.kind


def attachment_part(attachment: Attachment) -> dict[str, Any]:
    """Return the part for a file of the workspace."""
    kind = (attachment.media_type or "").partition("/")[0]
    path = attachment.path or ""
    source = {"type": "url", "value": workspace_url(path), "mimeType": attachment.media_type}
    return {
        "type": kind if kind in _KINDS else "document",
        "source": {name: value for name, value in source.items() if value is not None},
        "metadata": {"filename": attachment.name or path.rpartition("/")[2]},
    }


def read_media(part: Any) -> Media | None:
    """Return the file of a part; None for any other part, such as text."""
    if not isinstance(part, dict):
        return None
    if part.get("type") == "binary":
        name = part.get("filename")
        given = {"data": part.get("data"), "url": part.get("url"), "mimeType": part.get("mimeType")}
    elif part.get("type") in _MEDIA and isinstance(source := part.get("source"), dict):
        metadata = part.get("metadata")
        name = metadata.get("filename") if isinstance(metadata, dict) else None
        given = {str(source.get("type")): source.get("value"), "mimeType": source.get("mimeType")}
    else:
        return None
    data, url, media_type, name = (_text(value) for value in (*map(given.get, ("data", "url", "mimeType")), name))
    if data is None and url and (head := _DATA_URL.match(url)):
        data, url, media_type = url[head.end() :], None, media_type or head[1] or None
    path = unquote(url.removeprefix(SCHEME), errors="replace") if url and url.startswith(SCHEME) else None
    return Media(part["type"], media_type, name, data, path, None if path else url)


def with_url(part: dict[str, Any], url: str, media_type: str | None = None) -> dict[str, Any]:
    """Return a part whose file is at a URL instead."""
    return _with(part, "url", url, media_type)


def with_data(part: dict[str, Any], data: str, media_type: str) -> dict[str, Any]:
    """Return a part that has its file in base64 instead."""
    return _with(part, "data", data, media_type)


def workspace_url(path: str) -> str:
    """Return the URL of a file of the session's workspace."""
    return SCHEME + quote(path)


def message_attachments(parts: list[Any]) -> list[MessageAttachment]:
    """Return the files of a message's parts as a transcript shows them: without their content."""
    found = filter(None, map(read_media, parts))
    return [
        MessageAttachment(name=media.label, media_type=media.media_type, path=media.path, url=media.url)
        for media in found
    ]


def _with(part: dict[str, Any], kind: str, value: str, media_type: str | None) -> dict[str, Any]:
    if part["type"] == "binary":
        others = {name: each for name, each in part.items() if name not in {"data", "url"}}
        return {**others, kind: value, **({} if media_type is None else {"mimeType": media_type})}
    source = {"type": kind, "value": value, "mimeType": media_type or part["source"].get("mimeType")}
    return {**part, "source": {name: each for name, each in source.items() if each is not None}}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
