"""A session's text log: what happened to it, as lines in a small file that its owner can read."""

import re
from collections import deque
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import structlog

from app.agui.times import rfc3339
from app.clock import now_ms
from app.engine.hidden_values import HiddenValues
from app.observability.logs import redact
from app.store.deletions import Deletion
from app.store.sessions import SessionRow

MAX_BYTES = 1 << 20
MAX_LINE = 4096

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
log = structlog.get_logger()


class SessionLog:
    """The log of one session, without secrets; its file is made with the first line.

    It is rotated once, so that the newest lines stay within twice MAX_BYTES. A failing disk loses lines and nothing
    else.
    """

    def __init__(self, path: Path, secrets: Collection[str] = ()) -> None:
        self._path = path
        self._older = path.with_name(f"{path.name}.1")
        self._secrets = secrets

    @cached_property
    def _hidden(self) -> HiddenValues:
        return HiddenValues(self._secrets)

    def write(self, source: str, text: str) -> None:
        """Append the lines of `text`, each with the time and its source."""
        prefix = f"{rfc3339(now_ms())} {source}: "
        shown = self._hidden.replace(redact(text))
        lines = [prefix + _CONTROL.sub("", line)[:MAX_LINE] for line in shown.splitlines() if line.strip()]
        try:
            self._append("".join(f"{line}\n" for line in lines).encode())
        except OSError:
            log.warning("session_log_write_failed", exc_info=True)

    def _append(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(content)
            full = file.tell() >= MAX_BYTES
        if full:
            self._path.replace(self._older)

    def tail(self, count: int) -> str:
        """Return the last lines, oldest first; an empty string if there are none."""
        lines: deque[str] = deque(maxlen=count)
        for path in (self._older, self._path):
            if path.exists():
                lines.extend(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True))
        return "".join(lines)

    def remove(self) -> None:
        """Remove the files."""
        for path in (self._older, self._path):
            path.unlink(missing_ok=True)


class SessionLogs:
    """The logs of all sessions below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of(self, session: SessionRow) -> SessionLog:
        """Return the log of a session; the values of its environment are never written to it."""
        return SessionLog(self._path(session), (session.request.environment_variables or {}).values())

    def remove(self, session: Deletion) -> None:
        """Remove the log of a deleted session."""
        SessionLog(self._path(session)).remove()

    def _path(self, session: SessionRow | Deletion) -> Path:
        return self._directory / session.project / f"{session.id}.log"
