"""What can be changed of a session on the platform, what cannot, and which of its endpoints a change goes to."""

import re
from typing import Any

import msgspec

from app.errors import NotSupported
from app.models.sessions import SessionPatch

LONGEST_NAME = 50
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Changes(msgspec.Struct, frozen=True):
    """A change in the platform's words, one part for each endpoint; None where there is nothing to send.

    `spec` is refused while the session runs; a lone `display_name` and `annotations` are taken in every phase.
    """

    spec: dict[str, Any] | None = None
    display_name: str | None = None
    annotations: dict[str, str] | None = None


def changes(patch: SessionPatch) -> Changes:
    """The calls that a patch needs; `NotSupported` for what no call can do."""
    name = patch.display_name
    if name is not None and (len(name) > LONGEST_NAME or _CONTROL.search(name)):
        raise NotSupported(f"The platform takes names of at most {LONGEST_NAME} characters without control characters.")
    annotations = {key: value for key, value in (patch.labels or {}).items() if value is not None}
    if len(annotations) < len(patch.labels or {}):
        raise NotSupported("The platform cannot remove a label.")
    if patch.timeout_seconds is None:
        return Changes(display_name=name, annotations=annotations or None)
    spec: dict[str, Any] = {"timeout": patch.timeout_seconds} | ({} if name is None else {"displayName": name})
    return Changes(spec=spec, annotations=annotations or None)
