"""The audit log: one JSON line for each change and for each refusal, with who, what, where and the outcome.

The README explains the fields; those without a value are left out. There is nothing of the content of requests and
responses.
"""

import asyncio
import os
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec
import structlog

from app.clock import now_ms, rfc3339

Target = Path | Literal["stderr"]

MAX_LINES = 100
"""Lines of one second; equal ones beyond that become one line, with their number in `count`."""
_MAX_KINDS = 1000  # counted separately in one second; further lines are counted by operation and outcome only
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_OUTCOME_FIELDS = ("operation", "method", "status", "code")

log = structlog.get_logger()

Entry = dict[str, str | int]


class AuditLog:
    """Appends to a file, which may be moved away at any time, or to standard error."""

    def __init__(self, target: Target, *, addresses: bool = True) -> None:
        self._target = target
        self._addresses = addresses
        self._second = 0
        self._lines = 0
        self._counted: Counter[tuple[tuple[str, str | int], ...]] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._failed = False

    def record(self, *, request_id: str | None = None, **fields: str | int | None) -> None:
        """Write an entry, or count it together with equal ones if there are very many."""
        if not self._addresses:
            fields.pop("address", None)
        entry = {name: value for name, value in fields.items() if value is not None}
        if (second := int(monotonic())) != self._second:
            self.flush()
            self._second, self._lines = second, 0
        if self._lines < MAX_LINES:
            self._lines += 1
            self._write([{**entry, "request_id": request_id} if request_id else entry])
            return
        kind = tuple(sorted(entry.items()))
        if kind not in self._counted and len(self._counted) >= _MAX_KINDS:
            kind = tuple((name, entry[name]) for name in _OUTCOME_FIELDS if name in entry)
        self._counted[kind] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)

    def flush(self) -> None:
        """Write the entries that were counted together."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counted, self._counted = self._counted, Counter()
        if counted:
            self._write([{**dict(kind), "count": count} for kind, count in counted.items()])

    def _write(self, entries: list[Entry]) -> None:
        time = rfc3339(now_ms())
        text = b"".join(msgspec.json.encode({"time": time, **entry}) + b"\n" for entry in entries)
        if self._target == "stderr":
            with suppress(OSError):
                sys.stderr.write(text.decode())
                sys.stderr.flush()
            return
        try:
            self._append(self._target, text)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("audit_log_failed", file=str(self._target), cause=error.strerror)  # noqa: TRY400 - one line
            self._failed = True

    @staticmethod
    def _append(file: Path, text: bytes) -> None:
        try:
            descriptor = os.open(file, _APPENDING, 0o600)
        except FileNotFoundError:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, _APPENDING, 0o600)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
