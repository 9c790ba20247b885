"""The git repositories of a session: whether they are acceptable, and where each one is cloned to."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from app.errors import BadRequest, Detail
from app.git.names import is_branch, name_of, scheme_of
from app.models.sessions import SessionCreate

WORKFLOW = ".workflow"
"""The directory of the workflow's repository."""


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
