"""Attachments of new messages, before their run is queued: files of the workspace, or content that is saved there.

A log refers to files and never holds their content. An agent gets a file as it is when its turn begins. The workspace
of a new session is yet to be made: the content of its attachments is kept until then.
"""

import mimetypes
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from app.agui.content_parts import Media, read_media, with_url, workspace_url
from app.agui.run_input import RunInput
from app.attachments import decode, is_file_name
from app.engine import attached_files
from app.engine.agent_catalog import AgentCatalog
from app.engine.config import EngineConfig
from app.engine.session_workspaces import SessionWorkspace, SessionWorkspaces
from app.errors import ApiError, AttachmentNotUsable, Detail, WorkspaceFileNotFound
from app.lifecycle import Action, next_status
from app.models.runs import Attachment, RunCreate
from app.models.sessions import SessionCreate
from app.store.sessions import SessionRow
from app.workspace_paths import parse_path
from app.workspaces.listing import media_type

UNKNOWN_TYPE = "application/octet-stream"
MAX_PARTS, MAX_FILES = 1000, 100
"""Content parts of one message, and files of one request."""


class Attachments:
    """The attachments of new messages to the sessions of this server."""

    def __init__(self, config: EngineConfig, catalog: AgentCatalog, workspaces: SessionWorkspaces) -> None:
        self._config = config
        self._catalog = catalog
        self._workspaces = workspaces

    async def accept_new(self, new: SessionCreate) -> tuple[SessionCreate, dict[str, bytes]]:
        """Return a new session whose attachments are paths in its workspace, and the content that is to be there.

        Raises `AttachmentNotUsable`.
        """
        if not new.attachments:
            return new, {}
        files = _InitialFiles(new)
        accepting = await self._accepting(files, new.agent)
        attachments = await accepting.accept_all(new.attachments, "body.attachments")
        return msgspec.structs.replace(new, attachments=attachments), files.contents

    async def accept_run(self, session: SessionRow, run: RunCreate) -> RunCreate:
        """Return a run whose attachments are files of the workspace; raise `NotRunning`, `AttachmentNotUsable`."""
        next_status(Action.RUN, session.status)
        accepting = await self._accepting(_WorkspaceFiles(self._workspaces, session), session.request.agent)
        messages = []
        for index, message in enumerate(run.messages):
            accepted = await accepting.accept_all(message.attachments or (), f"body.messages[{index}].attachments")
            messages.append(msgspec.structs.replace(message, attachments=accepted or None))
        return msgspec.structs.replace(run, messages=messages)

    async def accept_input(self, session: SessionRow, run_input: RunInput, known: Collection[str]) -> RunInput:
        """Return the input of an AG-UI client with references in place of the content of files.

        Messages with `known` ids are left as they are. Raises `NotRunning` and `AttachmentNotUsable`.
        """
        next_status(Action.RUN, session.status)
        accepting = await self._accepting(_WorkspaceFiles(self._workspaces, session), session.request.agent)
        messages = [
            message
            if message["id"] in known or not isinstance(message.get("content"), list)
            else {
                **message,
                "content": await accepting.accept_parts(message["content"], f"body.messages[{index}].content"),
            }
            for index, message in enumerate(run_input["messages"])
        ]
        return {**run_input, "messages": messages}

    async def _accepting(self, files: "_Files", agent: str | None) -> "_Accepting":
        kind = await self._catalog.kind(agent)
        return _Accepting(files, kind, self._config.max_attachments)


class _Files(Protocol):
    """The files that a request may refer to, and that it brings."""

    async def size(self, path: bytes) -> int:
        """Return how large a file is; the errors of `app.port.workspaces`."""

    async def save(self, path: str, content: bytes) -> None:
        """Save a file; the errors of `app.port.workspaces`."""


class _WorkspaceFiles:
    """The files of a workspace, which is looked for once it is needed."""

    def __init__(self, workspaces: SessionWorkspaces, session: SessionRow) -> None:
        self._workspaces = workspaces
        self._session = session
        self._found: SessionWorkspace | None = None

    async def size(self, path: bytes) -> int:
        return (await (await self._workspace()).read_file(path)).size

    async def save(self, path: str, content: bytes) -> None:
        await attached_files.save(await self._workspace(), {path: content})

    async def _workspace(self) -> SessionWorkspace:
        self._found = self._found or await self._workspaces.find(self._session)
        return self._found


class _InitialFiles:
    """The files of a workspace that is yet to be made. Its files are not known, unless it begins empty."""

    def __init__(self, new: SessionCreate) -> None:
        self._begins_empty = not (new.repos or new.workspace or new.active_workflow)
        self.contents: dict[str, bytes] = {}

    async def size(self, path: bytes) -> int:  # noqa: ARG002 - looked at when the turn begins
        if self._begins_empty:
            raise WorkspaceFileNotFound
        return 0

    async def save(self, path: str, content: bytes) -> None:
        self.contents[path] = content


class _Accepting:
    """The attachments of one request, whose sizes add up if the agent gets their content."""

    def __init__(self, files: _Files, kind: str, max_attachments: int) -> None:
        self._files = files
        self._count = 0
        self._kind = kind
        self._room = max_attachments if kind == "agui" else None

    async def accept_all(self, attachments: Sequence[Attachment], location: str) -> list[Attachment]:
        """Return attachments as files of the workspace, with their media types."""
        return [await self._accept(attachment, f"{location}[{index}]") for index, attachment in enumerate(attachments)]

    async def _accept(self, attachment: Attachment, location: str) -> Attachment:
        self._add_one(location)
        if attachment.data is not None:
            content = decode(attachment.data, f"{location}.data")
            name = attachment.name or _default_name(attachment.media_type)
            path, size = await self._save(content, name, location), len(content)
        else:
            path = attachment.path or ""
            size = await self._size(path, f"{location}.path")
        self._take(size, location)
        kind = attachment.media_type or media_type(path) or UNKNOWN_TYPE
        return Attachment(path=path, media_type=kind.lower(), name=attachment.name)

    async def accept_parts(self, parts: list[Any], location: str) -> list[Any]:
        """Return the content parts of a message with references in place of content."""
        if len(parts) > MAX_PARTS:
            raise AttachmentNotUsable(details=[Detail(location, f"must have at most {MAX_PARTS} items")])
        return [await self._accept_part(part, f"{location}[{index}]") for index, part in enumerate(parts)]

    async def _accept_part(self, part: Any, location: str) -> Any:
        media = read_media(part)
        if media is None:
            is_text = isinstance(part, dict) and part.get("type") == "text"
            if self._kind == "acp" and not is_text:
                raise AttachmentNotUsable(details=[Detail(location, "is of a type that ACP agents do not take")])
            return part
        self._add_one(location)
        if media.data is not None:
            content = decode(media.data, location)
            path, size = await self._save(content, _file_name(media), location), len(content)
            self._take(size, location)
            return with_url(part, workspace_url(path), media.media_type)
        if media.path is not None:
            self._take(await self._size(media.path, location), location)
        elif media.url is None and self._kind == "acp":
            raise AttachmentNotUsable(details=[Detail(location, "refers to a file that ACP agents cannot get")])
        return part

    def _add_one(self, location: str) -> None:
        self._count += 1
        if self._count > MAX_FILES:
            raise AttachmentNotUsable(details=[Detail(location, f"is one of more than {MAX_FILES} files")])

    def _take(self, size: int, location: str) -> None:
        if self._room is None:
            return
        self._room -= size
        if self._room < 0:
            reason = "is larger than what the agent is given with one message (MAX_ATTACHMENT_BYTES)"
            raise AttachmentNotUsable(details=[Detail(location, reason)])

    async def _size(self, path: str, location: str) -> int:
        try:
            return await self._files.size(parse_path(path))
        except ApiError as error:
            raise _unusable(error, location) from error

    async def _save(self, content: bytes, name: str, location: str) -> str:
        """Write content into the workspace, unless it is there; return the path."""
        path = attached_files.path_of(content, name)
        try:
            await self._files.save(path, content)
        except ApiError as error:
            raise _unusable(error, location) from error
        return path


def _unusable(error: ApiError, location: str) -> ApiError:
    """Return what says why a file cannot be used; a fault of the server's stays what it is."""
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return error
    reason = error.message.rstrip(".")
    return AttachmentNotUsable(details=[Detail(location, f"cannot be used: {reason}")])


def _file_name(media: Media) -> str:
    name = (media.name or "").rpartition("/")[2]
    return name if is_file_name(name) and name.isprintable() else _default_name(media.media_type)


def _default_name(kind: str | None) -> str:
    return f"{(kind or 'attachment').partition('/')[0]}{mimetypes.guess_extension((kind or '').lower()) or ''}"
