"""Files that go with a message or a task."""

import base64
import mimetypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

if TYPE_CHECKING:
    from app.cli.api import ApiClient

Attach = Annotated[
    list[Path],
    typer.Option("--attach", "-a", metavar="FILE", help="Send a file with it, such as an image; may be repeated."),
]

DIRECTORY = ".ambient"
"""The directory of a workspace for what clients have sent, as for what the server saves; git ignores it."""
MAX_BYTES = 700_000
"""The most bytes of all files of a new session together: in base64 they are in the body of one request."""


def with_task(files: Sequence[Path]) -> dict[str, Any]:
    """Return the field of a new session that has files. Raises `CliError`."""
    from app.cli.api import CliError
    from app.cli.transfer import open_input

    attachments, room = [], MAX_BYTES
    for file in files:
        with open_input(str(file)) as chunks:
            content = bytearray()
            for chunk in chunks:
                content += chunk
                if len(content) > room:
                    raise CliError(
                        f"{file} is too large for a new session, whose files may have {MAX_BYTES // 1000} kB together. "
                        "Attach it to a later message."
                    )
        room -= len(content)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        data = base64.b64encode(content).decode()
        attachments.append({"data": data, "media_type": kind, "name": _name(file)})
    return {"attachments": attachments} if attachments else {}


def with_message(client: "ApiClient", session: str, files: Sequence[Path]) -> dict[str, Any]:
    """Upload files to a session's workspace, and return the field of a message that has them. Raises `CliError`."""
    if not files:
        return {}
    _put(client, session, f"{DIRECTORY}/.gitignore", iter([b"*\n"]))
    return {"attachments": [{"path": _upload(client, session, file)} for file in files]}


def _upload(client: "ApiClient", session: str, file: Path) -> str:
    """Write a file into the session's workspace, beside others of its name; return its path there."""
    from app.cli.transfer import open_input

    with open_input(str(file)) as content:
        target = f"{DIRECTORY}/attachments/{uuid4().hex[:16]}/{_name(file)}"
        _put(client, session, target, content)
    return target


def _put(client: "ApiClient", session: str, path: str, content: Iterator[bytes]) -> None:
    client.upload("sessions", session, "workspace", "file", query={"path": path}, content=content)


def _name(file: Path) -> str:
    return os.fsencode(file.name).decode(errors="replace")
