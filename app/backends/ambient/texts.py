"""Which texts of the platform a client may read; all others are replaced whole."""

import re
from functools import lru_cache
from typing import Any

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


def fit(text: Any) -> str | None:
    """Return the text if it is one short sentence that tells nothing of the platform's inside, else None."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    return text if text and len(text) <= LONGEST and not _tells_of_the_inside(text) else None


def clean(text: Any, instead: str = REQUEST_FAILED) -> str:
    """Return the text if a client may read it, else the one to say instead."""
    return fit(text) or instead


@lru_cache(maxsize=1024)
def _tells_of_the_inside(text: str) -> bool:
    """Remembered, since lists bring the same few failures again and again."""
    return _INTERNAL.search(text) is not None
