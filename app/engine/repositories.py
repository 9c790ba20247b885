"""Rules for the git repositories of a session: accepted URLs and branches, and where each one is cloned to."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from app.errors import BadRequest, Detail
from app.models.sessions import SessionCreate

WORKFLOW = ".workflow"
"""The directory of the workflow's repository."""
MAX_URL = 2048
MAX_BRANCH = 255

_SCP_LIKE = re.compile(r"[A-Za-z0-9][\w.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-:].*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-f:.]+", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
# The rules of `git check-ref-format --branch`; a lone "@" and lone surrogates are refused as well.
_NOT_A_BRANCH = re.compile(
    r"^-|^/|^@$|^HEAD$|/$|//|\.$|\.\.|(^|/)\.|\.lock(/|$)|@\{|[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]"
)


class Source(msgspec.Struct, frozen=True):
    """A repository of a session: its title in messages, its directory, and what to clone."""

    title: str
    name: str
    url: str
    branch: str | None


def check(new: SessionCreate, protocols: Sequence[str]) -> None:
    """Raise `BadRequest`, with a detail for each field, for URLs, branches and paths that are never accepted."""
    if details := list(problems(new, protocols)):
        raise BadRequest("The session's repositories are not valid.", details=details)


def problems(new: SessionCreate, protocols: Sequence[str]) -> Iterator[Detail]:
    """Yield a detail for each URL, branch and path that is not acceptable."""
    found = [(f"body.repos[{index}].", "url", repo.url, repo.branch) for index, repo in enumerate(new.repos or [])]
    if workflow := new.active_workflow:
        found.append(("body.active_workflow.", "git_url", workflow.git_url, workflow.branch))
        path = PurePosixPath(workflow.path or "")
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            yield Detail("body.active_workflow.path", "must be a path inside the repository")
    for location, field, url, branch in found:
        if scheme_of(url) not in protocols:
            yield Detail(location + field, f"must be a git URL by {' or '.join(protocols)}")
        if branch and not is_branch(branch):
            yield Detail(location + "branch", "must be a branch, a tag, a full ref or a commit id")


def sources(new: SessionCreate) -> Iterator[Source]:
    """Yield the repositories of a session, always with the same names: a second `api` is `api-2`."""
    used: set[str] = set()
    for number, repo in enumerate(new.repos or [], start=1):
        base = name_of(repo.url)
        variants = (f"{base}-{suffix}" for suffix in itertools.count(2))
        name = next(name for name in itertools.chain([base], variants) if name not in used)
        used.add(name)
        yield Source(f"Repository {number} ({name})", name, repo.url, repo.branch)
    if workflow := new.active_workflow:
        yield Source("The workflow", WORKFLOW, workflow.git_url, workflow.branch)


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
