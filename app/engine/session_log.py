"""What happened in a session, for whoever wants to know why: lines in a small file, beside its workspace."""

import logging
import re
from collections import deque
from collections.abc import Collection
from pathlib import Path

from app.agui.times import rfc3339
from app.clock import now_ms
from app.observability.logs import redact

MAX_BYTES = 1 << 20
MAX_LINE = 4096
SHORTEST_SECRET = 4
"""Shorter values, such as `1` or `on`, are no secrets, and stand in every second line."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
log = logging.getLogger(__name__)


class SessionLog:
    """The log of one session: the newest of its lines, without secrets; made with the first line."""

    def __init__(self, path: Path, secrets: Collection[str] = ()) -> None:
        parts = {part.strip() for secret in secrets for part in (secret, *secret.splitlines())}
        hidden = sorted((part for part in parts if len(part) >= SHORTEST_SECRET), key=len, reverse=True)
        self._path = path
        self._older = path.with_name(f"{path.name}.1")
        self._hidden = re.compile("|".join(map(re.escape, hidden)) or "(?!)")

    def write(self, source: str, text: str) -> None:
        """Add the lines of `text`, each with the time and who says it; where the disk fails they are lost."""
        begin = f"{rfc3339(now_ms())} {source}: "
        shown = self._hidden.sub("***", redact(text))
        lines = [begin + _CONTROL.sub("", line)[:MAX_LINE] for line in shown.splitlines() if line.strip()]
        try:
            self._append("".join(f"{line}\n" for line in lines).encode())
        except OSError:
            log.warning("a line could not be added to the log of a session", exc_info=True)

    def _append(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(content)
            full = file.tell() >= MAX_BYTES
        if full:
            self._path.replace(self._older)

    def tail(self, count: int) -> str:
        """The last lines, oldest first; empty if there are none."""
        lines: deque[str] = deque(maxlen=count)
        for path in (self._older, self._path):
            if path.exists():
                lines.extend(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True))
        return "".join(lines)

    def remove(self) -> None:
        """Remove the files."""
        for path in (self._older, self._path):
            path.unlink(missing_ok=True)
