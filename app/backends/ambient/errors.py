"""What goes wrong between here and the platform, in the words of `app.errors`."""

import re
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Any

import msgspec

from app.errors import ApiError, BackendError, BackendTimeout, BackendUnavailable, Forbidden, Unauthorized

ERRORS = range(400, 600)


class _ErrorTranslation:
    """A block in which every error of connecting, reading and decoding becomes one of ours, its cause chained.

    A RecursionError is how the decoder refuses JSON that is nested without end.
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
    """Name the error for an answer that is not a success: its status and its own text, cleaned.

    An answer that is neither a success nor an error (a redirect, say) is no usable answer.
    """
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Unauthorized(sanitize(text))
        case HTTPStatus.FORBIDDEN:
            return Forbidden(sanitize(text))
        case _ if status in ERRORS:
            return BackendError(sanitize(text), status=status)
    return BackendUnavailable()


REQUEST_FAILED = "Request failed"
LONGEST = 300

_INTERNAL = re.compile(
    r"""
    [\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]     # line breaks and other control characters
    | [{}<>] | \[\s*["\[\d\]]                         # JSON, markup
    | \w:// | (?<!\w)/[\w.]                             # URLs, file paths
    | \b(?:[a-z0-9_-]+\.)+[a-z]{2,}\b | \blocalhost\b # host names
    | [\w-]:\d{2,5}\b | \b\d{1,3}(?:\.\d{1,3}){3}\b   # ports, IPv4
    | [0-9a-f]*:[0-9a-f]*:                            # IPv6
    | \bsystem:\w                                     # Kubernetes identities
    | \b(?:dial|tcp|udp|lookup|x509|tls|eof|goroutine|panic|traceback)\b
    | \bno\s(?:such\s)?(?:route|host)\b | \bconnection\s(?:refused|reset|closed|timed)
    | \bbroken\spipe\b | \bdeadline\sexceeded\b | \bcontext\scancell?ed\b
    | \btimed?[\s-]?out\b | \bunreachable\b | \bhandshake\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def safe_text(text: Any) -> str | None:
    """Return the text if it is one short sentence that tells nothing of the platform's inside, else None."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    return text if text and len(text) <= LONGEST and not _reveals_internals(text) else None


def sanitize(text: Any, instead: str = REQUEST_FAILED) -> str:
    """Return the text if a client may read it, else the one to say instead."""
    return safe_text(text) or instead


@lru_cache(maxsize=1024)
def _reveals_internals(text: str) -> bool:
    """Remembered, since lists bring the same few failures again and again."""
    return _INTERNAL.search(text) is not None
