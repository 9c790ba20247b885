"""Names that git and its users give: URLs of repositories, branches, and the directories of clones."""

import re
from urllib.parse import unquote, urlsplit

MAX_URL = 2048
MAX_BRANCH = 255

_SCP_LIKE = re.compile(r"[A-Za-z0-9][\w.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-:].*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-f:.]+", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
# The rules of `git check-ref-format --branch`; a lone "@" and lone surrogates are refused as well.
_NOT_A_BRANCH = re.compile(
    r"^-|^/|^@$|^HEAD$|/$|//|\.$|\.\.|(^|/)\.|\.lock(/|$)|@\{|[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]"
)


def scheme_of(url: str) -> str | None:
    """Return the protocol that git would use for a well-formed URL, None for anything else."""
    if len(url) > MAX_URL or _UNPRINTABLE.search(url) or _UNPRINTABLE.search(unquote(url).replace(" ", "")):
        return None
    if "://" not in url:
        return "ssh" if _SCP_LIKE.fullmatch(url) else None
    try:
        parts = urlsplit(url)
        host, user, port = parts.hostname or "", unquote(parts.username or ""), parts.port
    except ValueError:
        return None
    # Git ends the user's part at the first "@", others at the last.
    if not url.startswith(f"{parts.scheme}://") or user.startswith("-") or port == 0 or parts.netloc.count("@") > 1:
        return None
    if parts.scheme == "file":
        return "file" if not parts.netloc and parts.path.startswith("/") else None
    return parts.scheme if _HOST.fullmatch(host) and parts.path.strip("/") else None


def is_branch(name: str) -> bool:
    """Return whether git accepts this as the name of a branch or tag."""
    return 0 < len(name) <= MAX_BRANCH and not _NOT_A_BRANCH.search(name)


def name_of(url: str) -> str:
    """Return a directory name for a repository: the last part of its path, in plain characters."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    last = unquote(path).rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100].strip(".-") or "repo"
