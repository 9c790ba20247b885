"""The rules of attachments: files that a client sends to an agent beside the text of a message."""

import base64
import binascii
from collections.abc import Iterator, Sequence

from app.errors import AttachmentNotUsable, Detail
from app.models.runs import Attachment, RunCreate

MAX_NAME_BYTES = 255
_NO_NAMES = frozenset({".", "..", ".git"})


def check(attachments: Sequence[Attachment] | None) -> None:
    """Raise `AttachmentNotUsable` unless the attachments of a body can be told from their members."""
    _refuse(_faults(attachments or (), "body.attachments"))


def check_run(run: RunCreate) -> None:
    """Raise `AttachmentNotUsable` unless the attachments of a run's messages can be told from their members."""

    def faults() -> Iterator[Detail]:
        for index, message in enumerate(run.messages):
            location = f"body.messages[{index}].attachments"
            if message.attachments and message.role != "user":
                yield Detail(location, "is only for messages of the role user")
            yield from _faults(message.attachments or (), location)

    _refuse(faults())


def decode(data: str, location: str) -> bytes:
    """Return the bytes of base64; raise `AttachmentNotUsable` if it is none."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise AttachmentNotUsable(details=[Detail(location, "must be base64")]) from None


def is_file_name(name: str) -> bool:
    """Return whether a file of a workspace may have this name."""
    is_one_part = not {"/", "\0"} & set(name) and name.lower() not in _NO_NAMES
    return bool(name) and is_one_part and len(name.encode()) <= MAX_NAME_BYTES


def _faults(attachments: Sequence[Attachment], location: str) -> Iterator[Detail]:
    for index, attachment in enumerate(attachments):
        here = f"{location}[{index}]"
        if (attachment.path is None) == (attachment.data is None):
            yield Detail(here, "must have either path or data")
        elif attachment.path is not None and attachment.name is not None:
            yield Detail(f"{here}.name", "is only for an attachment with data")
        elif attachment.data is not None:
            if attachment.media_type is None:
                yield Detail(f"{here}.media_type", "is required with data")
            if attachment.name is not None and not is_file_name(attachment.name):
                yield Detail(f"{here}.name", "must be a file name of at most 255 bytes")


def _refuse(faults: Iterator[Detail]) -> None:
    if details := [*faults]:
        raise AttachmentNotUsable(details=details)
