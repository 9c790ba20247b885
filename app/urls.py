"""Safe URLs: checks and redaction."""

import re
from urllib.parse import urlsplit, urlunsplit

_VISIBLE = re.compile(r"[!-~]+")


def require_http_url(url: str) -> str:
    """Return `url`; raise ValueError unless it is an absolute http or https URL without credentials and fragment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.port == 0:
        raise ValueError("not a plain URL")
    if "#" in url or "\\" in url or not _VISIBLE.fullmatch(url):
        raise ValueError("not a plain URL")
    return url


def without_credentials(url: str) -> str:
    """Return the URL without its password, and without its user too unless it is an ssh URL."""
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    if not userinfo:
        return url
    user = userinfo.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if parts.scheme == "ssh" else host))
