"""Real git repositories to clone from, and workspaces that should or should not come of them."""

import subprocess
from pathlib import Path

import pytest

from app.engine.workspace import WorkspaceError, provision
from app.git.access import GitAccess
from app.git.remote import LIMITS, Limits
from app.models.sessions import Repo, SessionCreate, Workflow

FILE = GitAccess(("file",))


def git(where: Path, *command: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always")
    return subprocess.check_output(["git", *identity, *command], cwd=where, text=True)  # noqa: S603, S607 - our own


def make_repository(root: Path, name: str = "api", **files: str) -> str:
    """Make a repository below `root` with one commit for each file; return its URL."""
    where = root / name
    where.mkdir(parents=True)
    git(where, "init", "--quiet", "--initial-branch=main")
    for path, text in (files or {"README": "hello"}).items():
        (where / path).write_text(text)
        git(where, "add", path)
        git(where, "commit", "--quiet", f"--message={path}")
    return f"file://{where}"


def evil_submodule(where: Path, ran: Path) -> None:
    """Make a repository with a file, whose filter makes the file `ran` when git looks at a change of the same size."""
    where.mkdir()
    git(where, "init", "--quiet")
    (where / "file").write_text("a\n")
    git(where, "add", ".")
    git(where, "commit", "--quiet", "--message=file")
    git(where, "config", "filter.evil.clean", f"touch {ran}; cat")
    (where / ".git/info/attributes").write_text("* filter=evil\n")


def session(*repos: str | Repo, workflow: Workflow | None = None) -> SessionCreate:
    listed = [Repo(url=repo) if isinstance(repo, str) else repo for repo in repos]
    return SessionCreate(task="work", repos=listed or None, active_workflow=workflow)


async def failure(workspace: Path, new: SessionCreate, *, limits: Limits = LIMITS, access: GitAccess = FILE) -> str:
    """The message of the error that preparing ends with."""
    with pytest.raises(WorkspaceError) as caught:
        await provision(workspace, new, access=access, limits=limits)
    return str(caught.value)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())
