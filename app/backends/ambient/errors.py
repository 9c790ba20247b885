"""Failures of the platform as errors of `app.errors`, with texts that reveal nothing of the platform's inside."""

import re
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Any

import msgspec

from app.errors import ApiError, BackendError, BackendTimeout, BackendUnavailable, Forbidden, Unauthorized

REQUEST_FAILED = "Request failed"

_ERROR = range(400, 600)
MAX_CHARACTERS = 300
"""Longest text of an error that a client gets."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|[\r\n]+")

_INTERNAL = re.compile(
    r"""
    [\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]     # line breaks and other control characters
    | [{}<>] | \[\s*["\[\d\]]                         # JSON, markup
    | \w:// | (?<!\w)/[\w.]                             # URLs, file paths
    | [a-z0-9_-]\.[a-z]{2,}\b | \blocalhost\b         # host names
    | [\w-]:\d{2,5}\b | \b\d{1,3}(?:\.\d{1,3}){3}\b   # ports, IPv4
    | :[0-9a-f]*:                                     # IPv6
    | \bsystem:\w                                     # Kubernetes identities
    | \b(?:dial|tcp|udp|lookup|x509|tls|eof|goroutine|panic|traceback)\b
    | \bno\s(?:such\s)?(?:route|host)\b | \bconnection\s(?:refused|reset|closed|timed)
    | \bbroken\spipe\b | \bdeadline\sexceeded\b | \bcontext\scancell?ed\b
    | \btimed?[\s-]?out\b | \bunreachable\b | \bhandshake\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


class _ErrorTranslation:
    """A block in which errors of connecting, reading and decoding become errors of `app.errors`, their cause chained.

    A RecursionError is how msgspec refuses JSON that is nested too deep.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise BackendTimeout from error
        if isinstance(error, (OSError, msgspec.DecodeError, UnicodeError, RecursionError)):
            raise BackendUnavailable from error


translate_errors = _ErrorTranslation()


def error_for(status: int, text: str | None) -> ApiError:
    """Return the error for a response that is not a success, with the platform's text as far as a client may see it.

    A status that is not an error either, such as a redirect, makes the response unusable.
    """
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Unauthorized(sanitize(text))
        case HTTPStatus.FORBIDDEN:
            return Forbidden(sanitize(text))
        case _ if status in _ERROR:
            return BackendError(sanitize(text), status=status)
    return BackendUnavailable()


def sanitize(text: Any, default: str = REQUEST_FAILED) -> str:
    """Return the text if a client may see it, else the default."""
    return safe_text(text) or default


def safe_beginning(text: str, default: str) -> str:
    """Return the first sentences of a text that a client may see, cut where they are long; the default without any."""
    found = ""
    for sentence in _SENTENCE_END.split(text.strip()):
        longer = f"{found} {sentence.strip()}".strip()
        if not safe_text(longer[:MAX_CHARACTERS]):
            break
        found = longer
        if len(found) > MAX_CHARACTERS:
            break
    return (
        found if len(found) <= MAX_CHARACTERS and found else (f"{found[: MAX_CHARACTERS - 1]}…" if found else default)
    )


def safe_text(text: Any) -> str | None:
    """Return the text if it is one short sentence without hosts, paths, markup and the like, else None."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    return text if text and len(text) <= MAX_CHARACTERS and not _reveals_internals(text) else None


@lru_cache(maxsize=1024)  # lists bring the same few failures again and again
def _reveals_internals(text: str) -> bool:
    return _INTERNAL.search(text) is not None
