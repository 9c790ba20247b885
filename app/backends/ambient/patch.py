"""Changes of a session as calls of the platform: which endpoint takes which part, and what none of them can do."""

import re
from typing import Any

import msgspec

from app.errors import NotSupported
from app.models.sessions import SessionUpdate

MAX_NAME_CHARACTERS = 50
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class PatchParts(msgspec.Struct, frozen=True):
    """The parts of a patch in the platform's words, one for each endpoint; None if there is nothing to send.

    The platform takes a `model` only while the session runs, refuses `spec` while it runs, and takes the others in
    every phase.
    """

    model: str | None = None
    spec: dict[str, Any] | None = None
    display_name: str | None = None
    annotations: dict[str, str] | None = None


def split_patch(patch: SessionUpdate) -> PatchParts:
    """Return the parts of a patch; `NotSupported` if the platform cannot carry it out."""
    name = patch.display_name
    if name is not None and (len(name) > MAX_NAME_CHARACTERS or _CONTROL.search(name)):
        raise NotSupported(
            f"The platform takes names of at most {MAX_NAME_CHARACTERS} characters without control characters."
        )
    changes = patch.label_changes
    annotations = {key: value for key, value in changes.items() if value is not None}
    if len(annotations) < len(changes):
        raise NotSupported("The platform cannot remove a label.")
    if patch.mode is not None:
        raise NotSupported("The platform has no modes.")
    if patch.model is not None and patch.timeout_seconds is not None:
        raise NotSupported("The platform changes the model of a running session, and the time limit of another.")
    if patch.timeout_seconds is None:
        return PatchParts(model=patch.model, display_name=name, annotations=annotations or None)
    spec: dict[str, Any] = {"timeout": patch.timeout_seconds} | ({} if name is None else {"displayName": name})
    return PatchParts(spec=spec, annotations=annotations or None)
