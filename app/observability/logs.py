"""JSON lines on standard error, one per event, without secrets: the server's own, the HTTP server's and libraries'."""

import logging
import re
import sys
from contextlib import suppress
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = re.compile(
    r"\bak_[A-Za-z0-9_-]{6,}"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\b(?:gh[opusr]_|github_pat_|glpat-|sk-)[A-Za-z0-9_-]{16,}"
    r"|(?<=://)[^/\s\"'@\\]+(?=@)"
    r"|(?<=\bbearer )[^\s\"'\\,]+"
    r"|(?<=[?&]token=)[^&\s\"'\\]+|(?<=[?&]access_token=)[^&\s\"'\\]+|(?<=[?&]api_key=)[^&\s\"'\\]+"
    r"|(\"(?:authorization|token|password|cookie)\": ?\")[^\"]+",
    re.IGNORECASE,
)

# One of these is in every match; looking for them first makes the usual line ten times cheaper.
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


def redact(text: str) -> str:
    """`text` with every API key, token and credential in a URL replaced by `***`."""
    lowered = text.lower()
    for mark in _MARKS:
        if mark in lowered:
            return _SECRET.sub(r"\g<1>***", text)
    return text


def configure(level: str) -> None:
    """Send structlog and standard logging through one pipeline; once per process, `level` as in the settings.

    Libraries are heard from `warning` on; the HTTP server sets the level of its own lines.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    stream: Any = _Stream(sys.stderr)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _line],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class _Stream:
    """A text stream that loses what cannot be written, on a full disk say: no request may fail because of its log."""

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


def _line(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Redact the whole rendered line, so that no field, nested value or stack can slip past."""
    return redact(_plain(event) or str(_escape(logger, name, event)))


def _plain(event: EventDict) -> str:
    """The line if all of it is ASCII, which nearly all are and which every stream can take; else nothing."""
    try:
        line = _encode(event)
    except UnicodeEncodeError:
        return ""
    return line.decode() if line.isascii() else ""
