"""Logs: one JSON object per line on standard error, without secrets, for the server and its libraries alike."""

import logging
import re
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# An agent decides what stands in much of this text, so every alternative takes linear time: it ends at the first
# character that cannot be part of the secret, and what it has read is either a match or too short to be one.
_SECRET = re.compile(
    r"\bak_[A-Za-z0-9_-]{6,}"
    r"|\b(?-i:eyJ)[\w-]{10,}(?:\.[\w-]*)*"  # a JWT, or any other JSON object in base64
    r"|\b(?:gh[opusr]_|github_pat_|glpat-|sk-)[A-Za-z0-9_-]{16,}"
    r"|(?<=://)[^/\s\"'@\\]++(?=@)"
    r"|(?<=\bbearer )[^\s\"'\\,]+"
    r"|(?<=[?&]token=)[^&\s\"'\\]+|(?<=[?&]access_token=)[^&\s\"'\\]+|(?<=[?&]api_key=)[^&\s\"'\\]+"
    r"|(\"(?:authorization|token|password|cookie)\": ?\")(?:[^\"\\]|\\.)+",
    re.IGNORECASE | re.DOTALL,
)

# Every match contains one of these. Looking for them first makes the usual line ten times cheaper.
_MARKS = (
    "ak_",
    "eyj",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "://",
    "bearer ",
    "token",
    "api_key",
    "authorization",
    "password",
    "cookie",
)


REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being served, which its log lines and its calls of other servers have."""


def redact(text: str) -> str:
    """Return `text` with `***` in place of every API key, token, and credential in a URL; takes linear time."""
    lowered = text.lower()
    if any(mark in lowered for mark in _MARKS):
        return _SECRET.sub(r"\g<1>***", text)
    return text


def configure(level: str) -> None:
    """Send structlog and standard logging through one pipeline; call it once per process.

    `level` is that of the settings. Libraries are shown from `warning` on; the HTTP server sets its own level.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    stream: Any = _Stream(sys.stderr)
    shared: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _add_request_id(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's arguments
    request_id = REQUEST_ID.get()
    return event if request_id is None else {"request_id": request_id, **event}


class _Stream:
    """A text stream that drops what it cannot write, such as on a full disk: no request may fail because of its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


_encode = msgspec.json.Encoder(enc_hook=repr).encode
_escape = structlog.processors.JSONRenderer()


def _render(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Return the line of one event. All of it is redacted, so that no field, nested value or stack is forgotten."""
    return redact(_encode_ascii(event) or str(_escape(logger, name, event)))


def _encode_ascii(event: EventDict) -> str:
    """Return the line if it is ASCII, which nearly all are and every stream accepts; otherwise an empty string."""
    try:
        line = _encode(event)
    except UnicodeEncodeError:
        return ""
    return line.decode() if line.isascii() else ""
